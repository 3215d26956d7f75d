"""Calibrated strength: the mix that is found keeps what it should, and is what a plain evaluation of it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unsay.errors import MethodError, PlanError
from unsay.measure.evaluator import Evaluator
from unsay.metrics.calibrated_strength import CalibratedStrength
from unsay.metrics.extraction_strength import ExtractionStrength
from unsay.models._tiny import tiny_lm
from unsay.models.patches import with_guard
from unsay.models.search import largest_share, longest_step
from unsay.models.weights import extrapolate
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm

DATA = facts()
SPLITS = {"forget": DATA.forget, "retain": DATA.retain}
NAME = "calibrated-strength@forget"
PLAIN = (ExtractionStrength(split="forget"), ExtractionStrength(split="retain"))


def evaluator(root, *metrics):
    return Evaluator(SPLITS, metrics, store=Store(root), precision="fp32")


def strengths(root, lm):
    judge = evaluator(root, *PLAIN)
    judge.measure("any", lm)
    found = judge.scores()["any"]
    return [found[f"extraction-strength@{split}"].value for split in ("forget", "retain")]


@pytest.fixture(scope="module")
def after():
    """Half of what was learned, and something else: a model that has lost most."""
    return extrapolate(knowing_lm(), tiny_lm(seed=5), 0.9)


def test_the_mix_keeps_what_it_should_and_no_more(tmp_path, after):
    judge = evaluator(tmp_path, CalibratedStrength(keep=0.8))
    judge.measure("before", knowing_lm())
    judge.measure("after", after)
    found = judge.scores()["after"][NAME]
    s = found.extra["share"]
    assert 0 < s < 1
    forget, kept = strengths(tmp_path / "plain", extrapolate(knowing_lm(), after, s))
    assert found.value == pytest.approx(forget, abs=1e-9)
    assert found.extra["kept"] == pytest.approx(kept, abs=1e-9)
    before = strengths(tmp_path / "plain", knowing_lm())
    assert found.extra["kept_before"] == pytest.approx(before[1], abs=1e-9)
    assert kept >= 0.8 * before[1] > strengths(tmp_path / "plain", extrapolate(knowing_lm(), after, s * 1.02))[1]
    assert found.extra["uncalibrated"] == pytest.approx(strengths(tmp_path / "plain", after)[0], abs=1e-9)
    assert found.n == len(DATA.forget) and found.ci and found.clusters
    same = judge.scores()["before"][NAME]
    assert (same.value, same.extra["share"]) == pytest.approx((before[0], 1.0))


def test_a_model_that_keeps_enough_stays_as_it_is(tmp_path):
    near = extrapolate(knowing_lm(), tiny_lm(seed=5), 1e-3)
    judge = evaluator(tmp_path, CalibratedStrength())
    judge.measure("before", knowing_lm())
    judge.measure("after", near)
    found = judge.scores()["after"][NAME]
    assert found.extra["share"] == 1
    assert found.value == pytest.approx(found.extra["uncalibrated"], abs=1e-9)


def test_what_was_mixed_is_kept_for_these_two_models(tmp_path, after):
    first = evaluator(tmp_path, CalibratedStrength())
    released = []
    first.measure("before", knowing_lm(), release=lambda: released.append("before"))
    assert released == ["before"]
    first.measure("after", after, release=lambda: released.append("after"))
    assert released == ["before", "before", "after"], "the other model is let go when it was mixed in"
    again = evaluator(tmp_path, CalibratedStrength())

    def refuse():
        raise AssertionError("nothing is missing: no model must be loaded")

    again.measure("before", fingerprint=knowing_lm().fingerprint(), load=refuse)
    again.measure("after", fingerprint=after.fingerprint(), load=refuse)
    assert again.scores() == first.scores()
    other = evaluator(tmp_path, CalibratedStrength())
    other.measure("before", tiny_lm(seed=2))
    other.measure("after", after)
    assert other.scores()["after"][NAME].extra["share"] != first.scores()["after"][NAME].extra["share"]


def test_reasons(tmp_path, after):
    alone = evaluator(tmp_path, CalibratedStrength())
    alone.measure("subject", after)
    found = alone.scores()["subject"][NAME]
    assert not found.scored
    assert found.note == "needs the model before unlearning, and it was not measured"
    judge = evaluator(tmp_path, CalibratedStrength())
    judge.measure("before", tiny_lm(hidden_size=16))
    judge.measure("after", after)
    assert judge.scores()["after"][NAME].note.startswith("the weights cannot be mixed:")
    patched = evaluator(tmp_path, CalibratedStrength())
    patched.measure("before", knowing_lm())
    patched.measure("after", with_guard(knowing_lm(), "Say nothing."))
    assert "by a patch (guard)" in patched.scores()["after"][NAME].note
    empty = Evaluator({"forget": DATA.forget}, [CalibratedStrength()], store=Store(tmp_path), precision="fp32")
    empty.measure("before", after)
    assert empty.scores()["before"][NAME].note == "the benchmark has no rows in split 'retain'"
    with pytest.raises(PlanError, match=r"keeps 0\.95 of split 'forget'"):
        CalibratedStrength(kept="forget")
    with pytest.raises(PlanError, match=r"keeps 1\.5"):
        CalibratedStrength(keep=1.5)


def test_largest_share():
    """A line that falls from 1 to 0 keeps 0.8 up to s = 0.2; what is not finite is not enough."""
    looked = []

    def known(s):
        looked.append(s)
        return 1 - s

    assert largest_share(known, 0.8) == pytest.approx(0.2, abs=1 / 128)
    assert largest_share(known, 0.8) <= 0.2
    assert len(looked) < 40 and looked[:2] == [0.0, 1.0]
    assert largest_share(lambda s: 1.0, 0.95) == 1.0
    assert largest_share(lambda s: float(s == 0), 0.95) == 0.0
    assert largest_share(lambda s: math.nan if s > 0.25 else 1.0, 0.95) == pytest.approx(0.25, abs=0.01)
    assert largest_share(lambda s: math.nan, 0.95) == 0.0
    with pytest.raises(MethodError):
        longest_step(lambda s: np.inf, 0.0, 1.0)
