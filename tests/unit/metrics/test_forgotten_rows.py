"""Labels of rows: by hand, and their error rates by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from unsay.errors import PlanError
from unsay.metrics.forgotten_rows import ForgottenRows, label_of, normal_two_sided, two_sided
from unsay.metrics.needs import TokenStats

OURS, RETRAINED, HOLDOUT = TokenStats("forget"), TokenStats("forget", model="retrained"), TokenStats("holdout")
NO_RETRAINED = {RETRAINED: "no retrained model"}


def test_p_values_by_counting():
    """Null 1 2 3 4: 5 has 0 at least as high: 2·1/5; 4 has one (itself): 2·2/5; 2.5 has two on each side: at most 1."""
    null = np.array([4.0, 2.0, 1.0, 3.0])
    assert two_sided(np.array([5.0, 4.0, 2.5, 0.0]), null).tolist() == pytest.approx([0.4, 0.8, 1.0, 0.4])
    assert two_sided(np.array([-math.inf]), null).tolist() == pytest.approx([0.4])


def test_normal_p_values_are_those_of_a_two_sample_t_test_with_one_observation():
    null = np.array([1.0, 2.0, 4.0, 4.5, 7.0])
    expected = [reference.ttest_ind([x], null).pvalue for x in (3.0, 9.0)]
    assert normal_two_sided(np.array([3.0, 9.0]), null).tolist() == pytest.approx(expected)


def test_labels_against_holdout(with_loss, rows, measured):
    """Null of 99 holdout rows with losses 1.00 … 1.98; forget rows: .5 (p = .02), 3 (.02), 1.5 (1), 1.01 (.06).

    Adjusted: .02·4/2 = .04, .04; the others more than .05.
    """
    splits = {"forget": rows("forget", 4), "holdout": rows("holdout", 99)}
    tables = {
        OURS: [with_loss(x) for x in (0.5, 3.0, 1.5, 1.01)],
        HOLDOUT: [with_loss(1 + i / 100) for i in range(99)],
    }
    found = ForgottenRows().score(measured(splits, tables, NO_RETRAINED))
    assert found.per_example == {"forget0": 1.0, "forget1": -1.0, "forget2": 0.0, "forget3": 0.0}
    assert [label_of(x) for x in found.per_example.values()] == ["still known", "over-forgotten", *["forgotten"] * 2]
    assert (found.value, found.n) == (0.5, 4)
    assert found.extra == {"still_known": 0.25, "over_forgotten": 0.25, "null": 99.0, "rate": 0.05}
    assert "against holdout" in found.note and "normal" not in found.note


def test_many_rows_share_the_burden_of_proof(with_loss, rows, measured):
    """One row at p = .02 among ten: .02·10 > .05, nothing is called. Ten such rows: .02·10/10, all are."""
    splits = {"forget": rows("forget", 10), "holdout": rows("holdout", 99)}
    null = [with_loss(1 + i / 100) for i in range(99)]
    alone = measured(splits, {OURS: [with_loss(0.5)] + [with_loss(1.5)] * 9, HOLDOUT: null}, NO_RETRAINED)
    assert ForgottenRows().score(alone).value == 1.0
    together = measured(splits, {OURS: [with_loss(0.5)] * 10, HOLDOUT: null}, NO_RETRAINED)
    assert ForgottenRows().score(together).extra["still_known"] == 1.0
    assert ForgottenRows(q=0.3).score(alone).extra["still_known"] == 0.1


def test_the_retrained_model_comes_first(with_loss, rows, measured):
    """Against the retrained model's own losses of 3, losses of 1 are knowledge; the holdout would not say so."""
    splits = {"forget": rows("forget", 50), "holdout": rows("holdout", 50)}
    tables = {
        OURS: [with_loss(1 + i / 100) for i in range(50)],
        RETRAINED: [with_loss(3 + i / 100) for i in range(50)],
        HOLDOUT: [with_loss(1 + i / 100) for i in range(50)],
    }
    have = measured(splits, tables)
    assert ForgottenRows().score(have).extra["still_known"] == 1.0
    assert "against retrained" in ForgottenRows().score(have).note
    assert ForgottenRows(against="holdout").score(have).value == 1.0


def test_a_short_null_is_taken_to_be_normal_and_that_is_said(with_loss, rows, measured):
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 6)}
    null = [with_loss(x) for x in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)]
    found = ForgottenRows().score(
        measured(splits, {OURS: [with_loss(0.01), with_loss(1.2)], HOLDOUT: null}, NO_RETRAINED)
    )
    assert found.per_example == {"forget0": 1.0, "forget1": 0.0}
    assert "only 6 rows of the null (holdout): taken to be normal" in found.note
    flat = measured(splits, {OURS: [with_loss(1)] * 2, HOLDOUT: [with_loss(1)] * 6}, NO_RETRAINED)
    assert not ForgottenRows().score(flat).scored
    assert "do not vary" in ForgottenRows().score(flat).note


def test_without_any_null(with_loss, rows, measured):
    found = ForgottenRows().score(measured({"forget": rows("forget", 2)}, {OURS: [with_loss(1)] * 2}, NO_RETRAINED))
    assert found.note == "no retrained model; the benchmark has no rows in split 'holdout'"
    with pytest.raises(PlanError, match="q must be a rate"):
        ForgottenRows(q=1)


@pytest.mark.parametrize("size", [12, 150], ids=["normal", "counted"])
def test_false_discoveries_are_rare(with_loss, rows, measured, size):
    """300 sets of 40 rows from the null's own law, 20 of them moved by 4 sd: at most 5 % of the calls are false."""
    rng = np.random.default_rng(0)
    splits = {"forget": rows("forget", 40), "holdout": rows("holdout", size)}
    shares, power = [], []
    for _ in range(300):
        losses = rng.normal(10, 1, 40)
        losses[:20] -= 4
        null = rng.normal(10, 1, size)
        tables = {OURS: [with_loss(x) for x in losses], HOLDOUT: [with_loss(x) for x in null]}
        found = ForgottenRows().score(measured(splits, tables, NO_RETRAINED)).per_example
        labels = np.array([found[row.id] for row in splits["forget"]])
        shares.append(np.sum(labels[20:] != 0) / max(1, np.sum(labels != 0)))
        power.append(np.mean(labels[:20] > 0))
        assert not np.any(labels[:20] < 0)
    assert np.mean(shares) <= 0.05
    assert np.mean(power) > 0.3
