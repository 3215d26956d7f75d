"""Models against controls: shares, the relative test, the null band, and how often the tests are wrong."""

import math

import numpy as np
import pytest

from unsay import contrast, stats


def clustered(rng, clusters, per, shift=0.0, within=0.5):
    """Values by id with a common part in each cluster, and the cluster of each id."""
    entities = {f"{c}-{i}": f"e{c}" for c in range(clusters) for i in range(per)}
    common = rng.normal(0, 1, clusters)
    values = {i: shift + common[int(i.split("-")[0])] + rng.normal(0, within) for i in entities}
    return values, entities


def test_ratio_is_the_share_and_has_an_interval_around_it():
    rng = np.random.default_rng(0)
    whole, entities = clustered(rng, 20, 3, shift=5)
    share = contrast.ratio({i: 0.3 * v for i, v in whole.items()}, whole, entities)
    assert share.value == pytest.approx(0.3) and share.ci is None  # a constant share does not vary
    noisy = {i: 0.3 * v + rng.normal(0, 0.5) for i, v in whole.items()}
    found = contrast.ratio(noisy, whole, entities)
    assert found.ci[0] < 0.3 < found.ci[1] and found.clusters == 20


def test_a_share_of_nothing_is_none():
    rng = np.random.default_rng(1)
    nothing, entities = clustered(rng, 20, 3)
    found = contrast.ratio({i: 1.0 for i in nothing}, nothing, entities)
    assert math.isnan(found.value) and "no headroom" in found.note


def test_closer_tells_to_which_of_two_a_model_is_nearer():
    rng = np.random.default_rng(2)
    control, entities = clustered(rng, 12, 2)
    before = {i: v + 4 for i, v in control.items()}
    near = {i: v + 0.2 * rng.normal() for i, v in control.items()}
    far = {i: v + 0.2 * rng.normal() for i, v in before.items()}
    assert contrast.closer(near, control, before, entities).p == pytest.approx(1 / 2**12)
    assert contrast.closer(far, control, before, entities).p == 1.0
    assert "no row" in contrast.closer({}, control, before, entities).note


def test_null_band_by_hand():
    controls = [{"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 3.0}]
    found = contrast.null_band({"a": 5.0, "b": 5.0}, controls)
    # distances to the controls 5, 4, 2; among them 1, 3, 2 with standard deviation 1
    assert (found.distance, found.among, found.pairs) == (pytest.approx(11 / 3), 2.0, 3)
    assert found.z == pytest.approx(11 / 3 - 2)
    assert math.isnan(contrast.null_band({"a": 1.0}, controls[:2]).z)


def test_nothing_seen_is_never_zero():
    rows = [str(i) for i in range(300)]
    for n, bound in ((40, 0.072), (128, 0.023), (300, 0.010)):
        assert contrast.none_seen(rows[:n], {}) == pytest.approx(bound, abs=5e-4)
    assert contrast.none_seen(rows, {i: f"e{int(i) % 10}" for i in rows}) == pytest.approx(1 - 0.05**0.1)


def test_one_sided_sign_flips():
    values, entities = {str(i): 1.0 + i for i in range(6)}, {}
    assert stats.sign_flip(values, entities) == 2 / 64
    assert stats.sign_flip(values, entities, "greater") == 1 / 64
    assert stats.sign_flip(values, entities, "less") == 1.0
    many = {str(i): -1.0 for i in range(30)}
    assert stats.sign_flip(many, entities, "less") == pytest.approx(1e-4) and stats.sign_flip(many, {}, "greater") == 1


def test_how_often_the_tests_are_wrong_when_nothing_is_there():
    """Type-I error of the excess test, of TOST at its margin and of the relative test stays near 5 %."""
    rng = np.random.default_rng(3)
    runs, clusters = 150, 10
    wrong = dict.fromkeys(("excess", "equal", "closer"), 0)
    for _ in range(runs):
        noise, entities = clustered(rng, clusters, 3)
        zero = dict.fromkeys(noise, 0.0)
        wrong["excess"] += stats.sign_flip(noise, entities) < 0.05
        at_margin = {i: v + 1.0 for i, v in noise.items()}
        wrong["equal"] += stats.equivalence(at_margin, zero, entities, 1.0).verdict == "equivalent"
        # as far from the control (0) as from before (2): nearer to neither
        middle = {i: v + 1.0 for i, v in noise.items()}
        wrong["closer"] += contrast.closer(middle, zero, dict.fromkeys(noise, 2.0), entities).p < 0.05
    rates = {name: count / runs for name, count in wrong.items()}
    assert all(rate < 0.1 for rate in rates.values()), rates
    assert rates["excess"] > 0.01, rates
