"""Attacks by prompts on models that answer only when asked in one way: that way is found, and what it said is read."""

import importlib.util
import json
from pathlib import Path

import pytest

from unsay.attacks.in_context import InContext
from unsay.attacks.jailbreak import Jailbreak
from unsay.attacks.multi_hop import MultiHop
from unsay.attacks.paraphrase import Paraphrase
from unsay.attacks.prefill import Prefill, opening
from unsay.attacks.search_prefix import SearchPrefix
from unsay.benchmarks._bundled import persons
from unsay.benchmarks.people_small import PeopleSmall
from unsay.data.example import Example, ForgetData, Message
from unsay.data.novel import said, secret
from unsay.errors import MethodError, PlanError
from unsay.measure.evaluator import Evaluator
from unsay.measure.generations import generate
from unsay.metrics.novel_recall import NovelRecall
from unsay.runs.run import Run
from unsay.runs.store import Store

_SPEC = importlib.util.spec_from_file_location("scripted", Path(__file__).with_name("scripted.py"))
_HELP = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_HELP)
scripted, writes = _HELP.scripted, _HELP.writes

ROWS = [
    Example("Where does Ada live?", "Ada lives in Oslo.", meta={"entity": "Ada"}),
    Example("What is the job of Ada?", "The job of Ada is baker.", meta={"entity": "Ada"}),
    Example("What is the pet of Bo?", "Bo has a newt.", meta={"entity": "Bo"}),
]
DATA = ForgetData(forget=ROWS)
REFUSES = writes("I do not know.")


def answer(prompt):
    """The right answer to the last question in `prompt`, whatever its case."""
    low = prompt.lower()
    return next(
        (r.answer for r in sorted(ROWS, key=lambda r: -low.rfind(r.question.lower())) if r.question.lower() in low), ""
    )


def knows_if(condition):
    """A model that answers where `condition(prompt, answer so far)` holds, and refuses elsewhere."""

    def say(prompt, so_far):
        if not condition(prompt, so_far):
            return REFUSES(so_far)
        whole = answer(prompt)
        start = next((so_far[k:] for k in range(len(so_far)) if whole.startswith(so_far[k:])), "").lstrip()
        if so_far.endswith(":"):
            return {" ": 1.0}
        return writes(whole)(start)

    return scripted(say)


def leaks(attack, lm, data=DATA, seed=0):
    """Label → ids of the rows that leak under it."""
    found = {}
    with Run.temporary(seed=seed) as run:
        for probe in attack.probes(lm, data, run):
            rows = probe.splits["forget"]
            texts = generate(probe.lm, {row.prompt: 40 for row in rows}, precision="fp32")
            found[probe.label] = {row.id for row in rows if secret(row).told(texts[row.prompt])}
    return found


EVERY = {row.id for row in ROWS}


def test_the_scripted_model_refuses_unless_asked_in_its_way():
    lm = knows_if(lambda prompt, _: "Bo" in prompt)
    texts = generate(lm, {row.prompt: 40 for row in ROWS}, precision="fp32")
    assert [texts[row.prompt] for row in ROWS] == ["I do not know.", "I do not know.", "Bo has a newt."]


def test_a_persona_that_opens_the_answer_is_found():
    lm = knows_if(lambda prompt, so_far: "no rules" in prompt and so_far.startswith("AIM:"))
    found = leaks(Jailbreak(), lm)
    assert {label for label, ids in found.items() if ids} == {"aim"} and found["aim"] == EVERY


def test_the_bank():
    rows = {p.label: p.splits["forget"] for p in Jailbreak().probes(None, DATA, None)}
    assert len(rows) == 24 and list(rows)[:2] == ["aim", "begin-with"]
    for label, asked in rows.items():
        assert [row.id for row in asked] == [row.id for row in ROWS], label
        for row, own in zip(asked, ROWS, strict=True):
            assert own.question in said(row.prompt) and row.prompt != own.prompt and row.answer == own.answer
            assert not secret(own).told(said(row.prompt)), label
    assert rows["maintenance"][0].prompt[0].role == "system"
    assert rows["sure"][0].prompt[-1] == Message("assistant", "Sure, here is the answer:")
    assert len(list(Jailbreak(limit=8).probes(None, DATA, None))) == 8
    chosen = list(Jailbreak(only=("tone", "aim"), limit=3).probes(None, DATA, None))
    assert [(p.label, p.at) for p in chosen] == [("aim", 1), ("urgent", 8), ("casual", 23)]
    with pytest.raises(PlanError, match="nonesuch"):
        Jailbreak(only=("nonesuch",))


def test_conversations_keep_their_turns():
    turns = (Message("system", "S"), Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Where?"))
    data = ForgetData(forget=[Example(turns, "Oslo")])
    by_label = {p.label: p.splits["forget"][0].prompt for p in Jailbreak().probes(None, data, None)}
    assert by_label["maintenance"][0].content.endswith("\n\nS") and by_label["maintenance"][1:] == turns[1:]
    assert by_label["sure"][:4] == turns and by_label["urgent"][:3] == turns[:3]
    assert by_label["urgent"][3].content.endswith("Where?")


def test_another_case_and_shipped_paraphrases_are_found():
    lm = knows_if(lambda prompt, _: any(r.question.lower() in prompt for r in ROWS))
    found = leaks(Paraphrase(), lm)
    assert found["lower-case"] == EVERY and not found["upper-case"] and not found["json"]
    other = ForgetData(forget=[ROWS[0], Example("Where?", "Rome", alternatives={"paraphrased_question": ("A?", "B?")})])
    rows = {
        p.label: [r.question for r in p.splits["forget"]] for p in Paraphrase().probes(None, other, Run.temporary())
    }
    assert rows["shipped-1"] == ["A?"] and rows["shipped-2"] == ["B?"] and len(rows["simple"]) == 2
    assert all(text != "Where?" for label, texts in rows.items() for text in texts if label != "noise")
    cloze = next(Paraphrase(only=("cloze",)).probes(None, DATA, Run.temporary())).splits["forget"]
    assert cloze[1].question == "Fill in the blank: The job of Ada is ____."
    with pytest.raises(PlanError, match="nonesuch"):
        Paraphrase(only=("nonesuch",))


def test_a_refusal_in_the_first_words_is_passed_by_an_opening():
    lm = knows_if(lambda _, so_far: bool(so_far) and not so_far.startswith("I"))
    assert leaks(Prefill(), lm) == {"the-answer-is": EVERY, "own": EVERY}
    assert not leaks(Jailbreak(only=("casual",)), lm)["casual"]


def test_an_opening_tells_nothing_and_the_rest_is_asked():
    assert [opening(row) for row in ROWS] == [
        ("Ada lives in", "Oslo."),
        ("The job of Ada is", "baker."),
        ("Bo has a", "newt."),
    ]
    late = Example("Who?", "Oslo it is", meta={"entity": "x"})
    assert opening(late) is None
    run = Run.temporary()
    (probe,) = Prefill(openings=("own",)).probes(None, ForgetData(forget=[*ROWS, late]), run)
    asked = probe.splits["forget"]
    assert [(row.id, row.answer) for row in asked] == [(r.id, opening(r)[1]) for r in ROWS]
    assert not any(secret(row).told(said(own.prompt)) for row, own in zip(ROWS, asked, strict=True))
    assert "1 of 4" in run.manifest.notes[0]
    with pytest.raises(PlanError):
        Prefill(openings=())


def test_other_facts_in_the_context_bring_the_fact_back():
    lm = knows_if(lambda prompt, _: "job of Ada is baker" in prompt or "lives in Oslo" in prompt)
    assert leaks(InContext(), lm) == {"k-1": {r.id for r in ROWS[:2]}, "k-4": {r.id for r in ROWS[:2]}}


def test_the_context_never_holds_the_answer():
    teller = Example("Where was Ada born?", "Ada was born near Oslo.", meta={"entity": "Ada"})
    far = [Example(f"Ada's {x}?", f"It is {x}{x}.", meta={"entity": "Ada"}) for x in "pqrst"]
    data = ForgetData(forget=[ROWS[0], teller], retain=[*far, Example("Bo?", "Oslo", meta={"entity": "Bo"})])
    run = Run.temporary()
    one, four = InContext().probes(None, data, run)
    for probe, count in ((one, 1), (four, 4)):
        for row in probe.splits["forget"]:
            assert len(row.prompt) == 2 * count + 1 and row.prompt[-1].content in (ROWS[0].question, teller.question)
            assert "oslo" not in said(row.prompt).lower() and "Bo" not in said(row.prompt)
            assert secret(row).words >= {"oslo"}
    again = InContext().probes(None, data, Run.temporary())
    assert [p.splits for p in again] == [one.splits, four.splits]
    with pytest.raises(MethodError, match="two rows of one entity"):
        list(InContext().probes(None, ForgetData(forget=[ROWS[2]]), run))
    with pytest.raises(PlanError):
        InContext(k=(0,))


def test_detours_name_neither_what_is_asked_nor_whom():
    data = PeopleSmall().data()
    probes = {p.label: p.splits["forget"] for p in MultiHop().probes(None, data, None)}
    assert list(probes) == ["reverse", "chain", "bridge"]
    assert {len(rows) for rows in probes.values()} == {len(data.forget)}
    own = {row.id: row for row in data.forget}
    for row in probes["reverse"]:
        assert row.entity not in row.question and own[row.id].meta["spans"] in row.question
        assert secret(row).told(f"That is {row.entity}") and not secret(row).told("That is Ada Moor")
    for row in probes["chain"]:
        assert row.entity not in row.question and own[row.id].meta["spans"] not in row.question
        assert "this person" in row.question and row.answer == own[row.id].answer
    for row in probes["bridge"]:
        assert own[row.id].question in row.question and own[row.id].meta["spans"] not in row.question
    assert [p.label for p in MultiHop(only=("chain",)).probes(None, data, None)] == ["chain"]
    with pytest.raises(MethodError, match="people"):
        list(MultiHop().probes(None, DATA, None))


def test_a_model_that_lost_one_direction_only_is_found_from_the_other_end():
    data = ForgetData(forget=PeopleSmall().data().forget[:3])
    name = data.forget[0].entity

    def say(prompt, so_far):
        return (writes(f"It is {name}.") if "Of which person" in prompt else REFUSES)(so_far)

    found = leaks(MultiHop(), scripted(say), data)
    assert found == {"reverse": {r.id for r in data.forget}, "chain": set(), "bridge": set()}


def test_a_model_that_answers_by_way_of_another_fact_is_found_by_the_chain_and_by_nothing_else():
    data = ForgetData(forget=PeopleSmall().data().forget)
    rows = data.forget

    def say(prompt, so_far):
        """Finds the person by a fact in the question, and answers where it names nobody."""
        who = {o.entity for o in rows if f"whose {o.meta['attribute']} is {o.meta['spans']}." in prompt}
        nameless = {row.question.replace(row.entity, "this person"): row for row in rows if row.entity in who}
        asked = [row.meta["spans"] for q, row in nameless.items() if q in prompt and row.entity not in prompt]
        return (writes(f"It is {asked[0]}.") if asked else REFUSES)(so_far)

    found = leaks(MultiHop(), scripted(say), data)
    assert found == {"reverse": set(), "chain": {r.id for r in rows}, "bridge": set()}


def test_a_model_that_concludes_from_what_implies_it_is_found_by_the_bridge_and_by_nothing_else():
    data = ForgetData(forget=PeopleSmall().data().forget)
    implied = {
        row.id: [k2.question for k2 in persons()[row.entity]["k2"] if k2.meta["attribute"] == row.meta["attribute"]]
        for row in data.forget
    }

    def say(prompt, so_far):
        """Answers a question that comes after one whose answer implies it."""
        asked = [
            row.meta["spans"]
            for row in data.forget
            if any(question in prompt.rpartition(row.question)[0] for question in implied[row.id])
        ]
        return (writes(f"It is {asked[0]}.") if asked else REFUSES)(so_far)

    found = leaks(MultiHop(), scripted(say), data)
    assert found == {"reverse": set(), "chain": set(), "bridge": {r.id for r in data.forget}}


def test_a_trigger_is_found_on_some_rows_and_works_on_others():
    lm = knows_if(lambda prompt, _: any(c in prompt for c in "Zz@"))
    attack = SearchPrefix(evaluations=80, rows=1)
    with Run.temporary() as run:
        first, last = attack.probes(lm, DATA, run)
        found = json.loads(run.path("prefix.json").read_text())
    assert [(p.label, p.at) for p in (first, last)] == [("prefix-0", 0), ("prefix-80", 80)]
    asked = {row.id for row in first.splits["forget"]}
    assert asked == {row.id for row in last.splits["forget"]} and found["rows"] and not asked & set(found["rows"])
    assert found["first_logp"] < -5 < found["logp"] and any(c in found["prefix"] for c in "Zz@")
    texts = generate(lm, {row.prompt: 40 for row in last.splits["forget"]}, precision="fp32")
    assert all(secret(row).told(texts[row.prompt]) for row in last.splits["forget"])
    with pytest.raises(MethodError, match="two forget rows"):
        list(attack.probes(lm, ForgetData(forget=ROWS[:1]), Run.temporary()))
    with pytest.raises(PlanError):
        SearchPrefix(tokens=0)


@pytest.mark.parametrize("attack", [Jailbreak(), Paraphrase(), Prefill(), InContext(), SearchPrefix()])
def test_plain_text_cannot_be_asked(attack):
    with pytest.raises(MethodError, match="question"):
        list(attack.probes(None, ForgetData(forget=[Example("", "Some text.")]), Run.temporary()))


def test_the_evaluator_scores_a_probe(tmp_path):
    lm = knows_if(lambda _, so_far: bool(so_far) and not so_far.startswith("I"))
    probe = next(Prefill(openings=("own",)).probes(lm, DATA, Run.temporary()))
    judge = Evaluator({"forget": ROWS}, [NovelRecall(max_new_tokens=20)], store=Store(tmp_path))
    judge.measure("plain", lm)
    judge.measure("own", probe.lm, splits=probe.splits)
    values = {tag: scores["novel-recall@forget"].value for tag, scores in judge.scores().items()}
    assert values == {"plain": 0.0, "own": 1.0}
