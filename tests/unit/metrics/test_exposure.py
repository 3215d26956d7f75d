"""Exposure, relative and generalised, against the counts and sums they are made of, and on rows like the references."""

import math

import numpy as np
import pytest
from scipy.stats import skewnorm

from unsay.errors import PlanError
from unsay.metrics._relative import _log_below, contrast, fitted_bits, rowwise
from unsay.metrics.exposure import Exposure, bits, chance
from unsay.metrics.genex import Genex
from unsay.metrics.needs import TokenStats
from unsay.metrics.relex import Relex

OURS, NULL, TWIN = TokenStats("forget"), TokenStats("holdout"), TokenStats("forget", model="retrained")


@pytest.fixture
def three(rows, measured, with_loss):
    """Holdout losses 1, 2, 3; forget losses .5, 2.5, 3; under the retrained model 2.5, 2.5, 2."""
    splits = {"forget": rows("forget", 3), "holdout": rows("holdout", 3)}
    tables = {OURS: [with_loss(x) for x in (0.5, 2.5, 3.0)], NULL: [with_loss(x) for x in (1, 2, 3)]}
    return measured(splits, tables | {TWIN: [with_loss(x) for x in (2.5, 2.5, 2.0)]})


def test_ranks_by_hand(three):
    """Loss .5 ranks 1 of 4: 2 bits; 2.5 ranks 3: log2(4/3); 3 ties with one: 4 of 4, 0 bits."""
    found = Exposure().score(three)
    assert list(found.per_example.values()) == pytest.approx([2, math.log2(4 / 3), 0])
    assert found.value == pytest.approx((2 + math.log2(4 / 3)) / 3)
    assert found.extra["chance"] == pytest.approx(np.mean([math.log2(4 / k) for k in (1, 2, 3, 4)]))
    assert found.extra["two_sided"] == pytest.approx(abs(found.value - found.extra["chance"]))
    assert "8 finite ones" in Exposure(estimator="skew-normal").score(three).note


def test_relative_exposure_by_hand(three):
    found = Relex().score(three)
    assert found.value == pytest.approx(0.0) and found.ci[0] < 0 < found.ci[1]
    assert list(found.per_example.values()) == pytest.approx([1.5, -0.5, -1.0])
    level = math.log(np.mean(np.exp([-1, -2, -3])))
    assert found.extra["likelihood"] == pytest.approx(-2 - level, rel=1e-6)
    assert Relex(estimator="likelihood").score(three).value == pytest.approx(-2 - level, rel=1e-6)
    ranked = Relex(estimator="rank").score(three)
    assert ranked.value == pytest.approx(Exposure().score(three).value - chance(3))


def test_calibration_takes_what_another_model_finds_easy_off(rows, measured, with_loss):
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 2)}
    tables = {OURS: [with_loss(x) for x in (1, 2)], NULL: [with_loss(x) for x in (3, 4)]}
    base = [TokenStats(split, model="base") for split in splits]
    tables |= {base[0]: [with_loss(x) for x in (1.5, 2.0)], base[1]: [with_loss(x) for x in (3.0, 4.0)]}
    have = measured(splits, tables)
    assert Relex().score(have).value == pytest.approx(2.0)
    assert Relex(calibrate="base").score(have).value == pytest.approx(0.25)


def test_generalised_exposure_by_hand(three):
    found = Genex().score(three)
    assert list(found.per_example.values()) == pytest.approx([2, 0, -1])
    assert found.value == pytest.approx(1 / 3)
    assert found.extra["epsilon"] == pytest.approx(2) and found.extra["two_sided"] == pytest.approx(1)


def test_generalised_exposure_sums_tokens_and_averages_likelihoods_over_seeds(rows, measured, answer):
    splits = {"forget": rows("forget", 1)}
    kept = {OURS: [-1.0, -1.0], TokenStats("forget", model="u1"): [-3.0, -3.0]}
    kept |= {TokenStats("forget", model=f"r{k}"): [-2.0, -x] for k, x in enumerate((1.0, 4.0))}
    have = measured(splits, {need: [(answer(logp),)] for need, logp in kept.items()})
    found = Genex(others=("u1",), retrained=("r0", "r1")).score(have)
    expected = math.log((math.exp(-2) + math.exp(-6)) / 2) - math.log((math.exp(-3) + math.exp(-6)) / 2)
    assert found.value == pytest.approx(expected) and found.extra["per_token"] == pytest.approx(expected / 2)
    assert found.extra["unlearned_models"] == found.extra["retrained_models"] == 2


def test_how_large_epsilon_is_without_any_difference(rows, measured, with_loss):
    """Three retrained models against each other: the band that the largest |genex| of exact unlearning lies in."""
    splits = {"forget": rows("forget", 2)}
    losses = {"r0": (2.0, 2.0), "r1": (2.0, 3.0), "r2": (6.0, 2.0)}
    tables = {TokenStats("forget", model=name): [with_loss(x) for x in of] for name, of in losses.items()}
    have = measured(splits, tables | {OURS: [with_loss(1.0), with_loss(1.0)]})
    found = Genex(retrained=tuple(losses)).score(have)

    def mean(*of):
        return -math.log(sum(math.exp(-x) for x in of) / len(of))

    against = [
        max(abs(2 - mean(2, 6)), abs(2 - mean(3, 2))),
        max(abs(2 - mean(2, 6)), abs(3 - mean(2, 2))),
        max(abs(6 - mean(2, 2)), abs(2 - mean(2, 3))),
    ]
    assert found.extra["epsilon_null_low"] == pytest.approx(min(against))
    assert found.extra["epsilon_null_high"] == pytest.approx(max(against)) == pytest.approx(4)
    assert "by chance" not in found.note
    one = Genex(retrained=("r0",)).score(have)
    assert "one retrained model" in one.note and not [name for name in one.extra if "null" in name]


def test_exact_unlearning_has_a_large_epsilon_and_a_null_band_as_large(rows, measured, with_loss):
    """Five models a side that differ by their seeds alone: 40 rows, 2 nats of noise each."""
    splits, rng = {"forget": rows("forget", 40)}, np.random.default_rng(0)
    tags = ["subject", *(f"u{k}" for k in range(4)), *(f"r{k}" for k in range(5))]
    noise = {tag: rng.normal(40, 2, 40) for tag in tags}
    have = measured(splits, {TokenStats("forget", model=t): [with_loss(x) for x in noise[t]] for t in tags})
    found = Genex(others=tuple(tags[1:5]), retrained=tuple(tags[5:])).score(have).extra
    assert found["epsilon"] > 2 and found["epsilon"] < found["epsilon_null_high"]


def test_identical_models_have_generalised_exposure_zero(rows, measured, with_loss):
    splits = {"forget": rows("forget", 20)}
    losses = [with_loss(x) for x in np.random.default_rng(0).gamma(2.0, size=20)]
    found = Genex().score(measured(splits, {OURS: losses, TWIN: losses}))
    assert found.value == 0 == found.extra["epsilon"] and not any(found.per_example.values())


@pytest.mark.parametrize("tags", [(), ("retrained", "retrained"), ("subject",)])
def test_a_model_is_not_named_twice(tags):
    with pytest.raises(PlanError, match="every tag once"):
        Genex(retrained=tags)


def test_sums_and_means_differ_by_length(answer, rows, measured):
    """One token of loss 2 against three of loss 1: per token the longer one is likelier, in sum the shorter."""
    splits = {"forget": rows("forget", 1), "holdout": rows("holdout", 1)}
    have = measured(splits, {OURS: [(answer([-2.0]),)], NULL: [(answer([-1.0] * 3),)]})
    assert Exposure().score(have).value == 0.0
    assert Exposure(per_token=False).score(have).value == 1.0
    assert Relex().score(have).value == pytest.approx(-1) and Relex(per_token=False).score(have).value == 1.0


def test_rows_like_the_references_have_one_point_four_bits():
    rng = np.random.default_rng(0)
    found = [np.mean(list(bits({"x": rng.normal()}, rng.normal(size=200)).values())) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(chance(200), abs=4 * np.std(found) / math.sqrt(4000))
    assert chance(200) == pytest.approx(1 / math.log(2), abs=0.05)
    fitted = [fitted_bits({"x": rng.normal()}, rng.normal(size=200))["x"] for _ in range(2000)]
    assert np.mean(fitted) == pytest.approx(1 / math.log(2), abs=4 * np.std(fitted) / math.sqrt(2000))


@pytest.mark.parametrize(("kind", "share"), [("log-likelihood", 0.9), ("rank", 0.9)])
def test_rows_like_the_references_have_relative_exposure_zero(kind, share):
    """The interval covers 0 in about 95 of 100 draws."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        ours, others = (
            {f"{side}{i}": x for i, x in enumerate(rng.normal(-60, 5, n))} for side, n in (("x", 20), ("z", 60))
        )
        low, high = contrast(ours, others, {}, kind)[1]
        covered += low <= 0 <= high
    assert covered >= share * 60


def test_estimators_on_one_typical_row_among_two_thousand():
    """Of sums the likelihood estimator is ruled by its easiest reference: about −12 nats for a typical row; not so of
    means of 30 tokens."""
    reference = -np.random.default_rng(0).normal(60, 5, 2000)
    typical = {"x": -60.0}
    assert rowwise(typical, reference, "log-likelihood")["x"] == pytest.approx(0, abs=0.3)
    assert -15 < rowwise(typical, reference, "likelihood")["x"] < -9
    assert rowwise({"x": -2.0}, reference / 30, "likelihood")["x"] == pytest.approx(0, abs=0.05)
    assert bits(typical, reference)["x"] == pytest.approx(1, abs=0.1)
    fitted = fitted_bits({"typical": -60.0, "likely": -50.0, "beyond": -40.0}, reference)
    assert fitted["typical"] == pytest.approx(1, abs=0.1) and fitted["likely"] == pytest.approx(5.4, abs=0.4)
    assert 12.5 < fitted["beyond"] < 16 and bits({"x": -40.0}, reference)["x"] == pytest.approx(math.log2(2001))


@pytest.mark.parametrize("shape", [-3.0, 0.0, 4.0])
def test_skew_normal_distribution_function(shape):
    z = np.array([-3.0, -1.0, 0.0, 0.7, 2.5])
    assert _log_below(z, shape) == pytest.approx(skewnorm.logcdf(z, shape), abs=2e-4)
    far = _log_below(np.array([-8.0, -8.5]), 4.0)
    assert np.isfinite(far).all() and far[1] < far[0] < -400  # its digits are gone where 1 − x is taken
