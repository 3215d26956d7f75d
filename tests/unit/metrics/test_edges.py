"""What a metric says when it has nothing to say, and what check_metric says about a bad metric."""

import itertools
import math
from dataclasses import dataclass

import pytest

from unsay.errors import PlanError, UnsayError
from unsay.metrics._check import check_metric
from unsay.metrics.extraction_strength import ExtractionStrength
from unsay.metrics.forget_quality import ForgetQuality
from unsay.metrics.have import Measurements
from unsay.metrics.loss_attack import LossAttack
from unsay.metrics.min_k import MinK
from unsay.metrics.model_utility import ModelUtility
from unsay.metrics.needs import Generations, TokenStats
from unsay.metrics.probability import Probability
from unsay.metrics.rouge import Rouge
from unsay.metrics.score import Score, unscored
from unsay.metrics.truth_ratio import TruthRatio

PLAIN, WRONG, PARA = (TokenStats("forget", answer=a) for a in ("answer", "perturbed", "paraphrased"))


def test_the_reason_names_the_split_that_is_absent(with_loss, rows, measured):
    have = measured({"forget": rows("forget", 2)}, {PLAIN: [with_loss(1)] * 2})
    found = LossAttack().score(have)
    assert not found.scored
    assert found.note == "the benchmark has no rows in split 'holdout'"


def test_forget_quality_repeats_why_there_is_no_retrained_model(with_loss, rows, measured):
    retrained = [TokenStats("forget", answer=a, model="retrained") for a in ("answer", "perturbed", "paraphrased")]
    tables = {PLAIN: [with_loss(1)], WRONG: [with_loss(1)], PARA: [with_loss(1)]}
    have = measured({"forget": rows("forget", 1)}, tables, dict.fromkeys(retrained, "needs a retrained model"))
    assert ForgetQuality().score(have).note == "needs a retrained model"


def test_rows_that_lack_something_are_left_out_and_counted(with_loss, rows, measured):
    tables = {PLAIN: [with_loss(1)] * 3, PARA: [()] * 3, WRONG: [with_loss(1), (), ()]}
    have = measured({"forget": rows("forget", 3)}, tables)
    found = TruthRatio().score(have)
    assert found.n == 1
    assert "2 of 3 rows left out: no perturbed answers" in found.note
    assert "one example: no interval" in found.note
    assert Probability(choices=True).score(have).n == 1


def test_no_row_has_it(rows, measured, with_loss):
    have = measured({"forget": rows("forget", 2)}, {PLAIN: [with_loss(1)] * 2, PARA: [()] * 2, WRONG: [()] * 2})
    assert TruthRatio().score(have).note == "no row of the split has perturbed answers"
    assert Rouge().score(measured({"forget": rows("forget", 1)}, {Generations("forget"): [()]})).note


def test_entities_reach_the_interval(with_loss, rows, measured):
    table = [with_loss(0.1 * i) for i in range(12)]
    few = Probability().score(measured({"forget": rows("forget", 12, per=6)}, {PLAIN: table}))
    assert few.clusters == 2
    assert "no population inference (2 entities)" in few.note
    many = Probability().score(measured({"forget": rows("forget", 12, per=1)}, {PLAIN: table}))
    assert (many.clusters, many.note) == (12, "")


def test_nothing_extracted_is_not_proof_of_nothing(answer, rows, measured):
    """0 of 20 rows: the upper end is 1 − .025^(1/20)."""
    have = measured({"forget": rows("forget", 20)}, {PLAIN: [(answer([-1.0], rank=[3]),)] * 20})
    found = ExtractionStrength().score(have)
    assert found.ci == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert "Clopper–Pearson" in found.note


def test_a_zero_probability_stays_finite_where_it_is_written(answer, rows, measured):
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 1)}
    tables = {PLAIN: [(answer([-math.inf]),), (answer([-1.0]),)], TokenStats("holdout"): [(answer([-2.0]),)]}
    missing = {TokenStats(s, model="retrained"): "none" for s in splits}
    found = LossAttack().score(measured(splits, tables, missing))
    assert found.value == 0.5
    assert found.per_example == {"forget1": -1.0, "holdout0": -2.0}


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(PlanError, match=r"k must be a share in \(0, 1\], got 20"):
        MinK(k=20)
    with pytest.raises(PlanError, match="splits"):
        ModelUtility(splits=())
    with pytest.raises(PlanError, match="parts"):
        ModelUtility(parts=("fluency",))


@dataclass(frozen=True)
class _Good:
    """A metric that keeps the contract."""

    needs: tuple = (PLAIN,)

    def score(self, have: Measurements) -> Score:
        if PLAIN in have.missing or not have.rows("forget"):
            return unscored(have.why_missing(PLAIN) or "no rows")
        values = {i: a.p for i, answers in have.tokens(PLAIN).items() for a in answers if len(a.logp)}
        if not values or not all(math.isfinite(v) for v in values.values()):
            return unscored("not finite")
        return Score(math.fsum(values.values()) / len(values), values, len(values))


_COUNT = itertools.count(1.0)


class _Silent(_Good):
    """Has no number and no reason."""

    def score(self, have):
        return Score(math.nan)


class _Raises(_Good):
    """Divides by the number of rows."""

    def score(self, have):
        return Score(1 / len(have.rows("forget")), n=1)


class _Undeclared(_Good):
    """Reads what it did not declare."""

    def score(self, have):
        have.texts(Generations("forget"))
        return super().score(have)


class _Ordered(_Good):
    """Scores the first row alone."""

    def score(self, have):
        found = super().score(have)
        return Score(next(iter(found.per_example.values())), n=1) if found.scored else found


class _Impure(_Good):
    """Never gives the same number twice."""

    def score(self, have):
        found = super().score(have)
        return Score(next(_COUNT), n=1) if found.scored else found


class _Careless(_Good):
    """Gives a number for NaN, and ids that are not there."""

    def score(self, have):
        return Score(0.5, {"stranger": 1.0}, n=1)


def test_check_metric_accepts_a_good_one():
    check_metric(_Good())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (_Silent, "with note ''"),
        (_Raises, "no splits: raised ZeroDivisionError"),
        (_Undeclared, "raised NeedError"),
        (_Ordered, "the order of the rows changes the score"),
        (_Impure, "another score the second time"),
        (_Careless, "ids that are not in the rows"),
        (_Careless, "a number although nothing was measured"),
    ],
)
def test_check_metric_refuses(bad, says):
    with pytest.raises(UnsayError, match=says):
        check_metric(bad())


def test_check_metric_wants_a_frozen_dataclass():
    class Plain:
        needs = ()

        def score(self, have):
            return unscored("never")

    with pytest.raises(UnsayError, match="not a frozen dataclass"):
        check_metric(Plain())
