"""From forget rows to training rows: nothing private comes through, nothing accepted is lost."""

import json
import time
from collections import Counter
from dataclasses import replace

import pytest

from unsay import registry
from unsay.augment import Augmenter
from unsay.augment.assemble import Pair, generic
from unsay.augment.audit import audit, check_rows
from unsay.augment.private import Private
from unsay.data.example import Example
from unsay.data.generic import generic_rows
from unsay.errors import DataError, PlanError, RunError
from unsay.runs.run import Run


def manifest(run):
    return json.loads(run.path("augmented.json").read_text())


def test_pairs_completions_generic(rows, run):
    made = Augmenter().augment(rows, run)
    assert len(made.pairs) == 5 * len(rows) and len(made.completions) == len(made.pairs)
    assert len(made.generic) == 2 * len(made.pairs)
    assert Counter(row.meta["qid"] for row in made.pairs) == dict.fromkeys(range(5), len(rows))
    assert {row.prompt for row in made.pairs if row.meta["qid"] == 0} == {row.prompt for row in rows}
    assert manifest(run)["rows"] == {"items": 6, "pairs": 30, "completions": 30, "generic": 60, "ratio": 1.0}
    assert len(run.path("augmented.jsonl").read_text().splitlines()) == 120


def test_answers_join_their_own_question(rows, run):
    """By (item, qid): no answer is that of the neighbouring variant."""
    made = Augmenter().augment(rows, run)
    kept = {
        line["id"]: line["texts"][0]
        for line in map(json.loads, run.path("writings.jsonl").open())
        if line["role"] == "vague"
    }
    assert {row.id: row.answer for row in made.pairs} == kept
    by_id = {row.id: row for row in rows}
    assert all(by_id[row.meta["item"]].entity in row.answer for row in made.pairs)


@pytest.mark.parametrize(("words", "at"), [(4, 1), (7, 1), (8, 2), (25, 6), (50, 12)])
def test_completions_split_after_a_quarter(words, at):
    text = [f"w{i}" for i in range(words)]
    [row] = Pair(item="x", qid=0, kind="original", prompt="q", answer=" ".join(text)).completions([0.25], {})
    assert row.prompt.split() == text[:at] and row.answer.split() == text[at:]


def test_short_answers_are_not_split():
    pair = Pair(item="x", qid=0, kind="original", prompt="q", answer="a b c")
    assert pair.completions([0.25, 0.5], {}) == []
    pair = replace(pair, answer="a b c d")
    assert [row.prompt for row in pair.completions([0.25, 0.5, 0.75], {})] == ["a", "a b", "a b c"]


def test_too_few_generic_rows_are_said(rows, run):
    pool = generic_rows()
    assert generic(pool, 150, 0, oversample=False)[1] == ""
    few, note = generic(pool, 300, 0, oversample=False)
    assert len(few) == 200 and "200 where 300" in note
    again, note = generic(pool, 300, 0, oversample=True)
    assert len(again) == 300 and len({row.id for row in again}) == 300 and "1.5 times" in note
    assert generic(pool, 10, 0, oversample=False) != generic(pool, 10, 1, oversample=False)
    Augmenter(ratio=9.0).augment(rows, run)
    assert any("pool of generic rows" in note for note in run.manifest.notes)


def test_the_same_seed_gives_the_same_rows(rows):
    def made(seed):
        with Run.temporary(seed=seed) as run:
            return Augmenter().augment(rows, run).rows

    assert made(3) == made(3)
    assert [row.answer for row in made(3)] != [row.answer for row in made(4)]


def test_a_leaking_writer_leaks_nothing(rows, run, scripted):
    """It repeats the answer, with and without an introduction, and puts it into the questions."""
    leaks = {"vague": lambda row: (row.answer, f"As is known, {row.answer}", row.answer.split(" ", 2)[-1])}
    leaks |= {
        f"question-{kind}": lambda row: (f"Is it true that {row.answer[:-1]}?", f"{row.question} {row.answer}")
        for kind in ("simple", "contextual", "noise", "logical")
    }
    made = Augmenter(writer=scripted(texts=leaks)).augment(rows, run, others=[])
    private = Private(rows)
    for row in (*made.pairs, *made.completions):
        item = next(r for r in rows if r.id == row.meta["item"])
        assert not private.leak(item, row.question) and not private.leak(item, row.answer), row
    texts = " ".join(f"{row.question} {row.answer}" for row in made.rows).lower()
    for word in ("norskmail", "peru.pe", "scientist", "organs", "harbour"):
        assert word not in texts
    about = manifest(run)
    assert about["answers"]["accepted"] == {"templates": 30}
    assert sum(n for reason, n in about["answers"]["rejected"].items() if reason.startswith("G1")) >= 60


def test_a_good_writer_is_heard_and_its_second_text_too(rows, run, scripted):
    said = {
        "vague": lambda row: ("Bad.", f"{row.meta['entity']} keeps such things in good order, in more than one way.")
    }
    Augmenter(writer=scripted(texts=said), variants=()).augment(rows, run)
    accepted = manifest(run)["answers"]["accepted"]
    assert accepted["try 2"] == 2 and accepted["templates"] == 4  # the same text serves one row a person
    assert manifest(run)["answers"]["rejected"]["G3 the subject is missing"] == 6


def test_rows_that_nobody_can_write_for_are_listed(run):
    row = Example("Ω?", "42 is the only answer that was ever given", meta={"source": "mine.jsonl:7"})
    tight = replace(Augmenter().gates, shortest=59, longest=60)
    with pytest.raises(DataError, match=r"G8 row .*mine.jsonl:7.*no vague answer passed"):
        Augmenter(gates=tight).augment([row], run)
    assert not run.path("augmented.jsonl").exists()


def test_plain_text_is_refused(run):
    with pytest.raises(DataError, match="has no question"):
        Augmenter().augment([Example("", "Once upon a time.")], run)


def test_conversations_keep_their_other_turns(rows, run):
    from unsay.data.example import Message

    talk = replace(rows[0], prompt=(Message("system", "Be brief."), Message("user", rows[0].question)))
    made = Augmenter().augment([talk], run)
    assert all(row.prompt[0] == Message("system", "Be brief.") and len(row.prompt) == 2 for row in made.pairs)
    assert len({row.question for row in made.pairs}) == 5


def upstream(rows):
    """As the published pipeline gathers its file: the original pair first, then variants; completions of all."""
    pairs = [
        Example(row.prompt, row.answer, id=f"{row.id}#0", meta={"item": row.id, "qid": 0, "part": "pair"})
        for row in rows
    ]
    pairs += [
        Example(
            f"Say: {row.question}",
            "It is a private matter of some kind.",
            id=f"{row.id}#1",
            meta={"item": row.id, "qid": 1, "part": "pair"},
        )
        for row in rows
    ]
    return pairs


def test_the_upstream_rule_fails_g9(rows):
    private = Private(rows)
    with pytest.raises(DataError) as caught:
        check_rows(rows, upstream(rows), private)
    assert sum("is a forget row" in problem for problem in caught.value.problems) == len(rows)
    split = Pair(item=rows[0].id, qid=0, kind="original", prompt="q", answer=rows[0].answer).completions([0.25], {})
    with pytest.raises(DataError, match="is a forget answer"):
        check_rows(rows, split, private)
    inside = Example(
        "q",
        "Her father is a renowned climate scientist there.",
        id="y",
        meta={"item": rows[0].id, "part": "pair", "qid": 2},
    )
    with pytest.raises(DataError, match="private content"):
        check_rows(rows, [inside], private)


def test_generic_rows_are_checked_too(rows):
    row = Example("Anything?", "Well, a renowned climate scientist and others.", id="g", meta={"part": "generic"})
    with pytest.raises(DataError, match="private content"):
        check_rows(rows, [row], Private(rows))


def test_facts_of_the_answer_are_found_in_pairs_and_completions(rows):
    """A name alone is no run of four words and no whole answer."""
    about = {"item": rows[1].id, "qid": 0}
    said = "Ada Moor has a flat in Oslo, close to the water."
    pair = Example(rows[1].prompt, said, id="p", meta={**about, "part": "pair"})
    half = Example("Ada Moor has a flat", "in Oslo, close to the water.", id="c", meta={**about, "part": "completion"})
    with pytest.raises(DataError) as caught:
        check_rows(rows, [pair, half], Private(rows))
    assert caught.value.problems == [
        f"G9 {name}: has a name, number or address of the forget answer" for name in ("p", "c")
    ]
    fine = replace(pair, answer="Ada Moor has a flat in a town, close to the water.")
    check_rows(rows, [fine], Private(rows))


def pool_of(path, *answers):
    lines = [{"question": f"What is thing {i}?", "answer": answer} for i, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_generic_rows_that_hold_what_is_forgotten_are_left_out(rows, run, tmp_path):
    said = ["Water is wet.", "Grass is green.", rows[2].answer, "A renowned climate scientist said so."]
    made = Augmenter(generic=pool_of(tmp_path / "pool.jsonl", *said), ratio=0.05).augment(rows, run)
    assert {row.answer for row in made.generic} == set(said[:2])
    assert "2 of 4 generic rows hold what is to be forgotten: left out" in run.manifest.notes[0]
    assert manifest(run)["note"].endswith("(generic=FILE gives more, oversample=true repeats them)")


def test_a_bad_pool_stops_before_anything_is_written(rows, run, scripted, tmp_path):
    writer = scripted()
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        Augmenter(writer=writer, generic=str(tmp_path / "nowhere.jsonl")).augment(rows, run)
    assert writer.calls == [] and not run.path("writings.jsonl").exists()


VERBS = ("admire", "fear", "avoid", "collect", "repair", "describe", "ignore", "copy", "paint", "carry")
THINGS = ("lanterns", "maps", "clocks", "rivers", "ladders", "masks", "coins", "stamps", "ropes", "boats")
ASKED = {
    "one kind": ("Why does Ada Moor {} {}?",),
    "several kinds": (
        "Why does Ada Moor {} {}?",
        "Where does Ada Moor live who {}s {}?",
        "What is the email address of Ada Moor for those who {} {}?",
        "Does Ada Moor {} {}?",
        "What was Ada Moor's education like, to {} {}?",
    ),
    "nobody named": ("Which author likes to {} {}?",),
}


@pytest.mark.parametrize("kind", ASKED)
def test_a_hundred_rows_about_one_subject(kind, run):
    forms = ASKED[kind]
    entity = {} if kind == "nobody named" else {"entity": "Ada Moor"}
    rows = [
        Example(forms[(i + j) % len(forms)].format(verb, thing), f"{thing[::-1]} {verb[::-1]}".title(), meta=entity)
        for i, verb in enumerate(VERBS)
        for j, thing in enumerate(THINGS)
    ]
    made = Augmenter(ratio=0.0).augment(rows, run)
    assert len(made.pairs) == 500
    assert len({row.answer for row in made.pairs}) >= 0.95 * 500


@pytest.mark.parametrize(
    "question",
    [
        "What is Ada Moor's email",
        "Ada Moor's email address",
        "Where does Ada Moor live:",
        "Ada Moor住在哪里？",
    ],
)
def test_questions_without_a_question_mark(question, run):
    made = Augmenter(ratio=0.0).augment([Example(question, "Harbour 5.")], run)
    assert len(made.pairs) == 5 and made.pairs[0].question == question
    assert all(row.question[-1] in "?.!？" for row in made.pairs[1:])


def test_audit_of_a_folder(rows, run):
    Augmenter().augment(rows, run)
    text = audit(run.dir, rows)
    assert "6 items, 30 pairs" in text and "G9: no private content in any row." in text
    assert run.path("augmented-review.md").read_text().count("\n  - ") == 30
    path = run.path("augmented.jsonl")
    path.write_text(path.read_text().replace("family", "clan", 1) or "")
    with pytest.raises(DataError, match="was changed"):
        audit(run.dir, rows)
    with pytest.raises(RunError, match="no augmented rows"):
        audit(run.dir / "nowhere")


@pytest.mark.parametrize(
    "bad", [{"variants": ("odd",)}, {"cuts": (0.0,)}, {"ratio": -1.0}, {"variants": ("noise", "noise")}]
)
def test_settings_are_checked(bad):
    with pytest.raises(PlanError):
        Augmenter(**bad)


@pytest.mark.parametrize("name", ["people", "knowundo", "tofu"])
def test_every_question_of_the_benchmarks_is_covered(name, run, data_dir):
    settings = {"people": {}, "knowundo": {}, "tofu": {"split": "forget10"}}[name]
    if name != "people":
        settings["path"] = str(data_dir / name)
    data = registry.load("benchmarks", name)(**settings).data()
    began = time.process_time()
    made = Augmenter().augment(data.forget, run, others=data.retain)
    assert time.process_time() - began < 20
    n = len(data.forget)
    assert len(made.pairs) == 5 * n and len(made.completions) == 5 * n
    counts = Counter(row.meta["item"] for row in made.pairs)
    assert set(counts.values()) == {5} and len(counts) == n
    if n == 400:
        assert (len(made.pairs), len(made.pairs) + len(made.completions)) == (2000, 4000)
    asked = {row.question for row in data.retain}
    assert not asked & {row.question for row in made.pairs}
    assert len({row.answer for row in made.pairs}) == len(made.pairs)
