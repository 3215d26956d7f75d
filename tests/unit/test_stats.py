"""Intervals and tests against known numbers, textbook formulas and simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference
from scipy.special import expit, ndtr

from unsay import stats
from unsay.errors import UnsayError


def _values(xs, prefix="r"):
    return {f"{prefix}{i}": float(x) for i, x in enumerate(xs)}


def _by_entity(values, per):
    return {i: f"{i[0]}{k // per}" for k, i in enumerate(values)}


def test_mean_of_independent_rows_is_close_to_the_t_interval():
    x = np.random.default_rng(0).normal(size=50)
    found = stats.mean(_values(x), {})
    low, high = reference.t.interval(0.95, 49, x.mean(), x.std(ddof=1) / math.sqrt(50))
    assert found.value == pytest.approx(x.mean())
    assert found.ci == pytest.approx((low, high), abs=0.05)
    assert (found.n, found.clusters, found.note) == (50, 0, "")


def test_eight_rows_get_the_width_of_t_not_of_z():
    x = reference.norm.ppf((np.arange(8) + 0.5) / 8)
    found = stats.mean(_values(x), {})
    half = reference.t.ppf(0.975, 7) * x.std(ddof=1) / math.sqrt(8)
    assert (found.ci[1] - found.ci[0]) / 2 == pytest.approx(half, rel=0.03)


def test_clusters_widen_the_interval():
    """Ten rows of each of 12 entities that do not vary within the entity: the width is that of 12 rows, not of 120."""
    means = np.random.default_rng(0).normal(size=12)
    values = _values(np.repeat(means, 10))
    clustered, naive = stats.mean(values, _by_entity(values, 10)), stats.mean(values, {})
    twelve = stats.mean(_values(means), {})
    assert clustered.clusters == 12
    assert clustered.value == pytest.approx(naive.value)
    width = clustered.ci[1] - clustered.ci[0]
    assert width == pytest.approx(twelve.ci[1] - twelve.ci[0], rel=0.1)
    assert width > 2.5 * (naive.ci[1] - naive.ci[0])


@pytest.mark.parametrize(("count", "word"), [(1, "1 entity"), (7, "7 entities")])
def test_few_entities_allow_no_population_inference(count, word):
    values = _values(np.random.default_rng(0).normal(size=5 * count))
    found = stats.mean(values, _by_entity(values, 5))
    assert "no population inference" in found.note
    assert word in found.note
    assert found.clusters == count
    assert found.ci == pytest.approx(stats.mean(values, {}).ci, abs=0.1)
    values = _values(np.random.default_rng(0).normal(size=40))
    assert "population" not in stats.mean(values, _by_entity(values, 5)).note


def test_rows_without_entity_are_their_own_clusters():
    values = _values(range(10))
    assert stats.mean(values, {**dict.fromkeys(values, ""), "r0": "x", "r1": "x"}).clusters == 9


def test_order_changes_nothing_and_repeats_are_identical():
    values = _values(np.random.default_rng(1).normal(size=30))
    turned = dict(reversed(list(values.items())))
    entities = _by_entity(values, 3)
    assert stats.mean(values, entities) == stats.mean(turned, entities) == stats.mean(values, entities)


def test_no_interval_without_variation_or_with_one_row():
    assert stats.mean({"a": 0.3}, {}) == stats.Estimate(0.3, None, 1, 0, "one example: no interval")
    same = stats.mean({"a": 0.3, "b": 0.3}, {})
    assert same.ci is None
    assert "do not vary" in same.note


def test_zero_of_forty_is_not_zero():
    """Clopper–Pearson for 0 of 40: 1 − .025^(1/40) = .0881."""
    found = stats.mean(_values([0.0] * 40), {}, bounds=(0.0, 1.0))
    assert found.ci == pytest.approx((0.0, 1 - 0.025 ** (1 / 40)))
    assert "Clopper–Pearson" in found.note
    values = _values([1.0] * 40)
    assert stats.mean(values, _by_entity(values, 4), bounds=(0.0, 1.0)).ci[0] == pytest.approx(0.025 ** (1 / 10))


def test_clopper_pearson_agrees_with_scipy():
    for k, n in ((0, 5), (3, 10), (10, 10), (39, 400)):
        exact = reference.binomtest(k, n).proportion_ci(0.95, method="exact")
        assert stats.clopper_pearson(k, n) == pytest.approx((exact.low, exact.high))


def test_harmonic_mean_resamples_a_group_together():
    """The same column twice: together it is the plain mean; in two groups the draws are independent, √2 narrower."""
    x = np.random.default_rng(0).uniform(0.2, 0.8, 60)
    column = _values(x)
    joint = stats.harmonic_mean({"a": [column, column]}, {})
    apart = stats.harmonic_mean({"a": [column], "b": [column]}, {})
    assert joint.value == pytest.approx(x.mean())
    assert joint.ci == pytest.approx(stats.mean(column, {}).ci)
    assert (joint.ci[1] - joint.ci[0]) / (apart.ci[1] - apart.ci[0]) == pytest.approx(math.sqrt(2), rel=0.1)
    zero = stats.harmonic_mean({"a": [column], "b": [_values([0.0] * 60)]}, {})
    assert (zero.value, zero.ci) == (0.0, None)
    assert "a part is 0" in zero.note


def test_area_counts_ties_half():
    """Pairs of {1, 2} against {1, 0}: 1=1 ½, 1>0, 2>1, 2>0 → 3.5 of 4."""
    assert stats.area([1, 2], [1, 0]) == 3.5 / 4
    assert stats.area([math.inf], [0.0]) == 1.0


@pytest.mark.parametrize(("n", "half"), [(40, 0.127), (200, 0.057), (400, 0.040)])
def test_hanley_mcneil_at_chance(n, half):
    assert 1.96 * stats.hanley_mcneil(0.5, n, n) == pytest.approx(half, abs=0.001)


def test_auc_interval_of_independent_rows_is_close_to_hanley_mcneil():
    rng = np.random.default_rng(0)
    members, others = _values(rng.normal(1, 1, 150), "m"), _values(rng.normal(0, 1, 150), "o")
    found = stats.auc(members, others, {})
    assert found.value == stats.area(list(members.values()), list(others.values()))
    half = 1.96 * stats.hanley_mcneil(found.value, 150, 150)
    assert (found.ci[1] - found.ci[0]) / 2 == pytest.approx(half, rel=0.15)


def test_auc_extremes():
    """Ten pairs without a miss: lower bound .025^(1/10). All scores equal: no interval."""
    high, low = _values(range(10, 20), "m"), _values(range(10), "o")
    assert stats.auc(high, low, {}).ci == pytest.approx((0.025**0.1, 1.0))
    assert stats.auc(low, high, {}).ci == pytest.approx((0.0, 1 - 0.025**0.1))
    flat = stats.auc(_values([1.0] * 5, "m"), _values([1.0] * 5, "o"), {})
    assert (flat.value, flat.ci) == (0.5, None)


def test_auc_interval_counts_ties_half():
    """Scores of 0 and 1 alone: 30 of 40 against 10 of 40, AUC = ¾·¾ + (¾·¼ + ¼·¾)/2 = ¾."""
    members, others = _values([1.0] * 30 + [0.0] * 10, "m"), _values([1.0] * 10 + [0.0] * 30, "o")
    found = stats.auc(members, others, {})
    assert found.value == 0.75
    se = math.sqrt(2 * 0.75 * 0.25 / 40) / 2  # AUC = ½ + (share of members − share of others) / 2
    assert found.ci == pytest.approx((0.75 - 1.96 * se, 0.75 + 1.96 * se), abs=0.015)


def test_general_statistic():
    x = np.random.default_rng(0).normal(size=101)
    found = stats.estimate(_values(x), {}, lambda v: float(np.median(v)))
    assert found.value == np.median(x)
    assert found.ci[0] < np.median(x) < found.ci[1]
    assert found.ci[1] - found.ci[0] == pytest.approx(2 * 1.96 * math.sqrt(math.pi / 2 / 101), rel=0.4)


def test_sign_flip_is_exact_for_few_clusters():
    """Three clusters with the same sign: 2 of 8 flips reach the sum. Rows of one cluster flip together."""
    d = _values([1, 1, 1])
    assert stats.sign_flip(d, {}) == 2 / 8
    assert stats.sign_flip(d, dict.fromkeys(d, "one")) == 1.0
    assert stats.sign_flip(_values([0.0] * 20), {}) == 1.0


def test_paired_difference_uses_common_rows():
    a, b = _values([3, 4, 5, 6]), _values([1, 2, 4])
    found = stats.paired_difference(a, b, {})
    assert (found.value, found.n) == (pytest.approx(5 / 3), 3)
    assert found.p == 2 / 8
    none = stats.paired_difference(a, {"x": 1.0}, {})
    assert math.isnan(none.value)
    assert none.note


def test_equivalence_verdicts():
    rng = np.random.default_rng(0)
    d = rng.normal(0, 1, 60)
    d -= d.mean()
    zero = _values(np.zeros(60))
    wide = stats.equivalence(_values(d), zero, {}, margin=0.5)
    half = reference.ttest_1samp(d, -0.5, alternative="greater").pvalue
    assert wide.p == pytest.approx(half)
    assert wide.verdict == "equivalent"
    assert stats.equivalence(_values(d), zero, {}, margin=0.1).verdict == "inconclusive"
    assert stats.equivalence(_values(d + 1), zero, {}, margin=0.5).verdict == "different"
    se = d.std(ddof=1) / math.sqrt(60)
    assert wide.needs == math.ceil(60 * ((1.6449 + 1.2816) * se / 0.5) ** 2)
    assert wide.mde == pytest.approx((reference.t.ppf(0.975, 59) + reference.t.ppf(0.8, 59)) * se)
    with pytest.raises(UnsayError, match="margin"):
        stats.equivalence(_values(d), zero, {}, margin=0)


def test_equivalence_without_variation_or_pairs():
    ones = _values([1.0, 1.0, 1.0])
    assert stats.equivalence(ones, ones, {}, 0.1).verdict == "equivalent"
    assert stats.equivalence(ones, _values([0, 0, 0]), {}, 0.1).verdict == "different"
    assert stats.equivalence({"a": 1.0}, {"a": 1.0}, {}, 0.1).verdict == "inconclusive"


def test_holm():
    """Sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made monotone: .04 .06 .06 .06."""
    found = stats.holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02})
    assert list(found) == ["d", "a", "c", "b"]
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06})
    assert stats.holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}


def test_benjamini_hochberg():
    """Sorted .01 .02 .03 .5 times 4/1 4/2 4/3 4/4 = .04 .04 .04 .5; ties and repeats stay monotone and at most 1."""
    found = stats.benjamini_hochberg({"d": 0.5, "a": 0.01, "c": 0.03, "b": 0.02})
    assert list(found) == ["d", "a", "c", "b"]
    assert found == pytest.approx({"a": 0.04, "b": 0.04, "c": 0.04, "d": 0.5})
    p = dict(zip("abcdefgh", np.random.default_rng(0).uniform(size=8).tolist(), strict=True))
    expected = reference.false_discovery_control(list(p.values()))
    assert list(stats.benjamini_hochberg(p).values()) == pytest.approx(expected.tolist())


def test_auc_pair_resamples_both_models_together():
    """The same scores on both sides differ by 0 in every resample; a constant one leaves the interval of the first."""
    rng = np.random.default_rng(0)
    first = _values(rng.normal(1, 1, 60), "m"), _values(rng.normal(0, 1, 60), "o")
    same = stats.auc_pair(first, first, {}, lambda a, b: a - b)
    assert (same.value, same.ci) == (0.0, None)
    flat = _values([0.0] * 60, "m"), _values([0.0] * 60, "o")
    lone, alone = stats.auc_pair(first, flat, {}, lambda a, b: a - b + 0.5), stats.auc(*first, {})
    assert lone.value == pytest.approx(alone.value)
    assert lone.ci == pytest.approx(alone.ci)
    other = _values(rng.normal(1, 1, 60), "m"), _values(rng.normal(0, 1, 60), "o")
    apart = stats.auc_pair(first, other, {}, lambda a, b: a - b)
    assert apart.ci[0] < apart.value < apart.ci[1]
    assert apart.value == pytest.approx(alone.value - stats.auc(*other, {}).value)


def test_auc_pair_uses_rows_of_both_models():
    members, others = {"a": 1.0, "b": 0.0}, {"c": 0.5, "d": 0.4}
    found = stats.auc_pair((members, others), ({"b": 1.0}, {"c": 0.0, "d": 0.0}), {}, lambda a, b: b - a)
    assert (found.value, found.n) == (1.0, 3)
    assert math.isnan(stats.auc_pair((members, others), ({"x": 1.0}, others), {}, lambda a, b: a).value)


def test_ks_critical_distance_of_forty():
    """For n = 40 against 40, D = 13/40 = .325 is the least distance with p < .05."""
    base = np.arange(40.0)
    d, p = stats.ks(base, base + 13)
    assert d == pytest.approx(0.325)
    assert p < 0.05
    d, p = stats.ks(base, base + 12)
    assert d == pytest.approx(0.3)
    assert p > 0.05


ENTITIES, PER, SETS = 20, 3, 2000
NAMES = {s: [f"{s}{k}" for k in range(ENTITIES * PER)] for s in "ab"}
OWNER = {i: f"{s}-{k // PER}" for s in "ab" for k, i in enumerate(NAMES[s])}


def _draw(rng, split):
    """Latent values: entity effect N(0, 1) plus noise N(0, 1)."""
    latent = np.repeat(rng.normal(size=ENTITIES), PER) + rng.normal(size=ENTITIES * PER)
    return dict(zip(NAMES[split], latent.tolist(), strict=True))


def _squash(values, shift):
    return {i: float(expit(x + shift)) for i, x in values.items()}


def _true_mean(shift):
    x, w = np.polynomial.hermite_e.hermegauss(80)
    return float((w * expit(math.sqrt(2) * x + shift)).sum() / w.sum())


def _mean_set(rng):
    return stats.mean(_squash(_draw(rng, "a"), -1), OWNER)


def _harmonic_set(rng):
    a, b = _draw(rng, "a"), _draw(rng, "b")
    return stats.harmonic_mean({"a": [_squash(a, -1), _squash(a, 0.5)], "b": [_squash(b, 0)]}, OWNER)


def _auc_set(rng):
    return stats.auc({i: x + 1 for i, x in _draw(rng, "a").items()}, _draw(rng, "b"), OWNER)


def _two_models(rng):
    """Two models' scores of the same rows: what the rows share, each model's own noise N(0, 1), members moved apart."""
    a, b = _draw(rng, "a"), _draw(rng, "b")
    return [
        ({i: x + shift + rng.normal() for i, x in a.items()}, {i: x + rng.normal() for i, x in b.items()})
        for shift in (1, 0.4)
    ]


def _change_set(rng):
    return stats.auc_pair(*_two_models(rng), OWNER, lambda u, r: u - r)


def _privleak_set(rng):
    return stats.auc_pair(*_two_models(rng), OWNER, lambda u, r: (r - u) / (1 - r))


FIRST, SECOND = (float(ndtr(shift / math.sqrt(6))) for shift in (1, 0.4))


@pytest.mark.parametrize(
    ("simulate", "truth"),
    [
        (_mean_set, lambda: _true_mean(-1)),
        (_harmonic_set, lambda: 3 / (1 / _true_mean(-1) + 1 / _true_mean(0.5) + 1 / _true_mean(0))),
        (_auc_set, lambda: float(ndtr(1 / 2))),
        (_change_set, lambda: FIRST - SECOND),
        (_privleak_set, lambda: (SECOND - FIRST) / (1 - SECOND)),
    ],
    ids=["mean", "harmonic mean", "AUC", "difference of AUCs", "PrivLeak"],
)
def test_coverage(simulate, truth):
    """95 % intervals hold the truth in 93–97 % of 2,000 simulated sets of 20 entities × 3 rows."""
    true = truth()
    inside = [low <= true <= high for low, high in (simulate(np.random.default_rng(s)).ci for s in range(SETS))]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_sign_flip_rejects_a_true_null_in_five_percent():
    """Clusters of three rows with a shared effect: a test of the rows would reject far more often."""
    rejected = [stats.sign_flip(_draw(np.random.default_rng(s), "a"), OWNER) < 0.05 for s in range(500)]
    assert 0.03 <= np.mean(rejected) <= 0.07
