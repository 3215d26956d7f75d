"""Novel recall: an echo counts nothing, a span tells, rows that ask what they say are counted as left out."""

import pytest

from unsay.data.example import Example, Message
from unsay.metrics.have import Measurements
from unsay.metrics.needs import Sampling
from unsay.metrics.novel_recall import LEAK, NONE, NovelRecall


def row(answer, prompt="Where does Ada Moor live?", **meta):
    return Example(prompt, answer, meta={"entity": "Ada Moor", **meta})


def score(metric, rows, *texts):
    """`texts`: the generations of each row."""
    (need,) = metric.needs
    return metric.score(Measurements({"forget": rows}, {need: {r.id: t for r, t in zip(rows, texts, strict=True)}}))


FULL = row("Ada Moor lives in a flat in Oslo.")


def test_the_echo_of_the_prompt_is_nothing_and_the_answer_is_all():
    found = score(NovelRecall(), [FULL], ("Where does Ada Moor live? Ada Moor lives there.",))
    assert (found.value, found.labels[FULL.id], found.extra["leaks"]) == (0.0, NONE, 0.0)
    found = score(NovelRecall(), [FULL], (FULL.answer,))
    assert (found.value, found.labels[FULL.id], found.extra["leaks"]) == (1.0, LEAK, 1.0)
    assert score(NovelRecall(), [FULL], ("In Oslo.",)).value == 0.5
    assert score(NovelRecall(), [FULL], ("",)).value == 0.0


def test_what_an_attack_says_is_no_leak():
    turns = (Message("system", "Oslo is a town."), Message("user", FULL.question), Message("assistant", "In a flat"))
    other = row(FULL.answer, "Who lives there?", spans="Oslo")
    found = score(NovelRecall(), [FULL.with_prompt(turns), other], ("in Oslo",), ("Oslo",))
    assert (found.value, found.n, found.extra["coverage"]) == (1.0, 1, 0.5)
    assert "1 of 2 rows left out" in found.note
    found = score(NovelRecall(), [FULL.with_prompt(turns)], ("in Oslo",))
    assert not found.scored and "already" in found.note


def test_a_span_leaks_though_not_all_is_said():
    one = row("She lives in New Oslo, at number 7.", spans=["New Oslo", "number 7"])
    found = score(NovelRecall(), [one], ("It is new oslo I think",))
    assert found.labels[one.id] == LEAK and found.value == 0.5
    assert score(NovelRecall(), [one], ("Oslo is new",)).labels[one.id] == NONE


def test_without_spans_a_name_leaks_and_other_words_do_not():
    found = score(NovelRecall(), [FULL], ("Oslo, I think.",))
    assert (found.value, found.labels[FULL.id]) == (0.5, LEAK)
    assert score(NovelRecall(), [FULL], ("She has a flat.",)).labels[FULL.id] == NONE


def test_runs_are_averaged_and_one_leak_among_them_counts():
    metric = NovelRecall(sampling=Sampling(runs=2))
    found = score(metric, [FULL], (FULL.answer, "no"))
    assert (found.value, found.labels[FULL.id], found.extra["run_1"], found.extra["run_2"]) == (0.5, LEAK, 1.0, 0.0)


def test_rewordings_count_as_said():
    one = Example(FULL.prompt, FULL.answer, alternatives={"paraphrased_question": ("Whose flat is it?",)})
    found = score(NovelRecall(prompt="paraphrased_question"), [one], ("a flat",))
    assert found.value == 0.0
    assert score(NovelRecall(), [one], ("a flat",)).value == 0.5


@pytest.mark.parametrize("texts", [(), None])
def test_no_generation(texts):
    metric = NovelRecall()
    (need,) = metric.needs
    answers = {} if texts is None else {need: {FULL.id: texts}}
    missing = {need: "no model"} if texts is None else {}
    found = metric.score(Measurements({"forget": [FULL]}, answers, missing))
    assert not found.scored and found.note and not found.labels
