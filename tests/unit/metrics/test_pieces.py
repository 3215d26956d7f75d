"""Forgetting effect and closer-look utility by hand, with signs that were and were not measured."""

import math

import pytest

from unsay.data.example import Example
from unsay.errors import PlanError
from unsay.metrics._ngrams import entropy
from unsay.metrics.closer_look_utility import CloserLookUtility
from unsay.metrics.forgetting_effect import ForgettingEffect
from unsay.metrics.have import Measurements, Verdict
from unsay.metrics.needs import Generations, Inference, TextSimilarity, TokenStats

YES, NO = Verdict(0.8, 0.1, 0.1), Verdict(0.1, 0.8, 0.1)
LN2 = math.log(2)


def tables(with_loss, split, text, premise, verdict, cosine=0.4):
    """Probability ½; truth ratio R = e^(ln2 − 2 ln2) = ½."""
    return {
        TokenStats(split): [with_loss(LN2)],
        TokenStats(split, answer="paraphrased"): [with_loss(LN2)],
        TokenStats(split, answer="perturbed"): [with_loss(2 * LN2)],
        Generations(split): [(text,)],
        TextSimilarity(split): [(cosine,)],
        Inference(split, premise=premise): [(verdict,)],
    }


@pytest.fixture
def forget():
    return {"forget": (Example("q", "one two", id="f"),)}


def test_forgetting_effect(with_loss, measured, forget):
    """ROUGE ½, probability ½, 1 − min(R, 1/R) = ½, cosine .4, entailed 1: FE = 1 − 2.9/5."""
    found = ForgettingEffect().score(measured(forget, tables(with_loss, "forget", "one", "generation", YES)))
    assert found.value == pytest.approx(1 - 2.9 / 5)
    assert found.per_example == pytest.approx({"f": 1 - 2.9 / 5})
    assert found.extra == pytest.approx(
        {"rouge": 0.5, "probability": 0.5, "truth-ratio": 0.5, "cosine": 0.4, "entailment": 1.0, "parts": 5}
    )


def test_an_entailment_without_a_common_word_is_not_believed(with_loss, measured, forget):
    """ROUGE 0 < .1, so entailment 0; a cosine below 0 counts 0: FE = 1 − (0 + ½ + ½ + 0 + 0)/5."""
    given = tables(with_loss, "forget", "nothing", "generation", YES, cosine=-0.3)
    assert ForgettingEffect().score(measured(forget, given)).value == pytest.approx(0.8)


def test_signs_that_were_not_measured_are_named(with_loss, measured, forget):
    """Three signs of ½ each are left: FE = ½."""
    given = tables(with_loss, "forget", "one", "generation", NO)
    missing = {need: "no judge here" for need in (TextSimilarity("forget"), Inference("forget"))}
    rest = {need: table for need, table in given.items() if need not in missing}
    found = ForgettingEffect().score(measured(forget, rest, missing))
    assert found.value == pytest.approx(0.5)
    assert found.extra["parts"] == 3
    assert "without cosine: no judge here; without entailment: no judge here" in found.note


def test_rows_that_lack_a_sign_are_left_out(with_loss, measured):
    rows = {"forget": tuple(Example("q", "one two", id=f"f{i}") for i in range(3))}
    given = {
        TokenStats("forget"): [with_loss(LN2)] * 3,
        TokenStats("forget", answer="paraphrased"): [with_loss(LN2)] * 3,
        TokenStats("forget", answer="perturbed"): [with_loss(2 * LN2), (), with_loss(LN2)],
    }
    found = ForgettingEffect(parts=("probability", "truth-ratio")).score(measured(rows, given))
    assert found.per_example == pytest.approx({"f0": 0.5, "f2": 0.75})
    assert "1 of 3 rows left out" in found.note


def test_who_judged_is_said(with_loss, forget):
    given = tables(with_loss, "forget", "one", "generation", YES)
    answers = {need: {"f": table[0]} for need, table in given.items()}
    have = Measurements(forget, answers, {}, {Inference("forget"): "entailment by words alone"})
    assert "entailment by words alone" in ForgettingEffect().score(have).note


def test_closer_look_utility(with_loss, measured):
    """ROUGE ½, probability ½, 1 − R = ½, entropy of "one one two": (⅔ ln 1.5 + ⅓ ln 3)/ln 3, cosine .4, entailed 1."""
    retain = {"retain": (Example("q", "one two three four five six", id="r"),)}
    given = tables(with_loss, "retain", "one one two three", "answer", YES)
    found = CloserLookUtility().score(measured(retain, given))
    spread = entropy("one one two three")
    assert spread == pytest.approx((0.5 * LN2 + 0.5 * math.log(4)) / math.log(4))
    assert found.value == pytest.approx(6 / (2 + 2 + 2 + 1 / spread + 1 / 0.4 + 1))
    assert found.extra["retain/entailment"] == 1.0
    assert found.extra["parts"] == 6
    given[Inference("retain", premise="answer")] = [(NO,)]
    assert CloserLookUtility().score(measured(retain, given)).value == 0.0


def test_closer_look_utility_over_splits(with_loss, measured):
    """Options: ½ / (½ + ¼) = ⅔ on world; HM(½, ⅔) = 4/7. A split without rows leaves no number."""
    splits = {"retain": (Example("q", "a", id="r"),), "world": (Example("q", "b", id="w"),)}
    given = {
        TokenStats("retain"): [with_loss(LN2)],
        TokenStats("world"): [with_loss(LN2)],
        TokenStats("world", answer="perturbed"): [with_loss(2 * LN2)],
    }
    metric = CloserLookUtility(splits=("retain", "world"), choices=("world",), parts=("probability",))
    assert metric.score(measured(splits, given)).value == pytest.approx(4 / 7)
    assert not metric.score(measured({"retain": splits["retain"]}, {TokenStats("retain"): [with_loss(LN2)]})).scored


@pytest.mark.parametrize(("metric", "split", "premise"), [
    (ForgettingEffect, "forget", "generation"), (CloserLookUtility, "retain", "answer"),
])  # fmt: skip
def test_judges_can_be_chosen(metric, split, premise):
    needs = metric(judge="my/nli", encoder="my/encoder", max_new_tokens=7).needs
    assert Inference(split, premise=premise, judge="my/nli", max_new_tokens=7) in needs
    assert TextSimilarity(split, encoder="my/encoder", max_new_tokens=7) in needs
    assert Generations(split, max_new_tokens=7) in needs


@pytest.mark.parametrize("metric", [ForgettingEffect, CloserLookUtility])
def test_unknown_parts_are_refused(metric):
    with pytest.raises(PlanError, match="cannot average"):
        metric(parts=("wit",))
    with pytest.raises(PlanError, match="cannot average"):
        metric(parts=())
