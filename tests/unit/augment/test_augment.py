"""From forget rows to training rows: nothing private comes through, nothing accepted is lost."""

import json
import os
import signal
import subprocess
import sys
import textwrap
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
from unsay.writers.replay import Replay


@pytest.fixture(autouse=True)
def keyed_by_type(monkeypatch):
    """What a scripted writer says is a function, which no key can hold."""
    real = sys.modules["unsay.writers._obtain"].dataclasses.asdict
    monkeypatch.setattr(
        "unsay.writers._obtain.dataclasses.asdict", lambda w: {} if type(w).__name__ == "Scripted" else real(w)
    )
    encode = sys.modules["unsay.writers._obtain"].encode
    monkeypatch.setattr("unsay.writers._obtain.encode", lambda w: {} if type(w).__name__ == "Scripted" else encode(w))


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


def test_a_second_call_writes_nothing_new(rows, run, scripted):
    writer = scripted()
    first = Augmenter(writer=writer).augment(rows, run)
    asked = len(writer.calls)
    assert Augmenter(writer=writer).augment(rows, run).rows == first.rows
    assert len(writer.calls) == asked


KILLED = """
    import os, sys
    from dataclasses import dataclass
    from unsay.augment import Augmenter
    from unsay.config.plan import Plan
    from unsay.data.example import Example
    from unsay.runs.run import Run
    from unsay.writers.templates import Templates

    @dataclass(frozen=True, kw_only=True)
    class Slow:
        def write(self, rows, role, count, run, *, others=()):
            with open(sys.argv[2], "a") as log:
                print(role, *(row.id for row in rows), file=log)
            if role == "vague" and sys.argv[3] == "die" and rows[0].meta["item"] == "row12":
                os.kill(os.getpid(), 9)
            return {name: texts[:40] for name, texts in Templates().write(rows, role, count, run).items()}

    rows = [Example(f"Where does Ada Moor{i}son live?", f"In town number {i}x.", id=f"row{i}") for i in range(24)]
    with Run.start(Plan(out=sys.argv[1])) as run:
        Augmenter(writer=Slow(), ratio=0).augment(rows, run)
"""


def test_a_kill_loses_no_accepted_row(tmp_path):
    def go(how):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "out"), str(tmp_path / "log"), how]
        return subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)

    assert go("die").returncode == -signal.SIGKILL
    kept = [json.loads(line) for line in (tmp_path / "out" / "writings.jsonl").read_text().splitlines()]
    assert sum(line["role"] == "vague" for line in kept) >= 16
    (tmp_path / "log").unlink()
    done = go("live")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "writings.jsonl").read_text().splitlines()]
    assert lines[: len(kept)] == kept
    asked = {name for call in (tmp_path / "log").read_text().splitlines() for name in call.split()[1:]}
    assert not asked & {line["id"] for line in kept if line["role"] == "vague"}
    assert len((tmp_path / "out" / "augmented.jsonl").read_text().splitlines()) == 24 * 10


def test_replay_gives_the_same_rows(rows, run):
    first = Augmenter().augment(rows, run)
    with Run.temporary(seed=9) as other:
        again = Augmenter(writer=Replay(path=str(run.dir))).augment(rows, other)
        about = manifest(other)
    assert [row.answer for row in again.pairs] == [row.answer for row in first.pairs]
    assert again.pairs == first.pairs and about["answers"]["accepted"] == {"try 1": 30}


def test_replay_of_a_file_that_lacks_rows(rows, run, tmp_path):
    Augmenter().augment(rows, run)
    lines = [json.loads(line) for line in run.path("writings.jsonl").open()]
    lacking = [line for line in lines if line["id"] not in (rows[0].id, f"{rows[1].id}#3")]
    (tmp_path / "writings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lacking))
    with Run.temporary(seed=5) as other:
        made = Augmenter(writer=Replay(path=str(tmp_path))).augment(rows, other)
        about = manifest(other)
    assert len(made.pairs) == 30
    assert all(about["questions"][kind]["accepted"] == {"try 1": 5, "templates": 1} for kind in about["questions"])
    assert about["answers"]["accepted"]["templates"] == 1


def test_a_model_that_talks_nonsense_leaves_it_to_the_rules(rows, run, tmp_path):
    from unsay.testing import tiny_lm
    from unsay.writers.local_chat import LocalChat

    tiny_lm().save(tmp_path / "chat")
    writer = LocalChat(path=str(tmp_path / "chat"), max_new_tokens=6)
    made = Augmenter(writer=writer, variants=("simple",), ratio=0.1).augment(rows[:2], run)
    assert len(made.pairs) == 4 and manifest(run)["answers"]["accepted"] == {"templates": 4}
    assert sum(manifest(run)["answers"]["rejected"].values()) >= 16
    assert any("template writer's" in note for note in run.manifest.notes)


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
    assert time.process_time() - began < 60  # some 10 s; twice that would be felt
    n = len(data.forget)
    assert len(made.pairs) == 5 * n and len(made.completions) == 5 * n
    counts = Counter(row.meta["item"] for row in made.pairs)
    assert set(counts.values()) == {5} and len(counts) == n
    if n == 400:
        assert (len(made.pairs), len(made.pairs) + len(made.completions)) == (2000, 4000)
    asked = {row.question for row in data.retain}
    assert not asked & {row.question for row in made.pairs}
    assert len({row.answer for row in made.pairs}) == len(made.pairs)
