"""Upper bounds from samples: the known values, what they promise, and the worst case over the band."""

import math

import numpy as np
import pytest

from unsay.bounds import dkw, leak_bound, mean_bound, sd_bound
from unsay.errors import UnsayError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "percent"), [(40, 7.2), (128, 2.3), (300, 1.0), (1000, 0.3)])
def test_no_leak_in_n_samples(n, percent):
    assert round(100 * leak_bound(0, n), 1) == percent
    assert leak_bound(0, n) == pytest.approx(1 - 0.05 ** (1 / n))


def test_leak_bound_is_one_sided():
    assert leak_bound(3, 20, 0.99) > leak_bound(3, 20) > 3 / 20
    assert leak_bound(20, 20) == 1.0
    # P(at most 3 of 20 | p = bound) = 5 %
    p = leak_bound(3, 20)
    assert sum(math.comb(20, k) * p**k * (1 - p) ** (20 - k) for k in range(4)) == pytest.approx(0.05)


def test_by_hand():
    assert dkw(50) == pytest.approx(math.sqrt(math.log(20) / 100))
    samples = [0.0] * 30 + [0.5] * 20
    # F̂ − ε is 0.6 − ε below ½, and 1 − ε from there on
    assert mean_bound(samples) == pytest.approx(1 - 0.5 * (0.6 - dkw(50)) - 0.5 * (1 - dkw(50)))
    # all mass that the band allows at 0 and 1: a coin that falls on 1 with the band's height
    half = dkw(50, sides=2)
    assert sd_bound([0.0] * 50) == pytest.approx(math.sqrt(half * (1 - half)), abs=1e-6)
    assert sd_bound([0.2]) == 0.5


def test_sd_bound_is_the_worst_of_the_band():
    samples = np.sort(RNG.beta(2, 5, 30))
    margin = dkw(30, 0.9, sides=2)
    steps, grid = np.arange(31) / 30, np.linspace(0, 1, 401)
    empirical = steps[np.searchsorted(samples, grid, "right")]
    low, high = np.maximum(empirical - margin, 0), np.minimum(empirical + margin, 1)
    worst = 0.0
    for level in np.linspace(0, 1, 201):  # mass as far apart as the band allows: flat at some level in between
        cdf = np.clip(level, low, high)
        cdf[-1] = 1.0
        weights = np.diff(cdf, prepend=0.0)
        worst = max(worst, math.sqrt(weights @ grid**2 - (weights @ grid) ** 2))
    assert sd_bound(samples, 0.9) == pytest.approx(worst, abs=5e-3)


def test_the_bounds_hold_as_often_as_they_promise():
    law = RNG.beta(0.5, 2.0, 200_000)
    mean, sd = law.mean(), law.std()
    draws = RNG.choice(law, (400, 60))
    assert np.mean([mean_bound(x, 0.9) >= mean for x in draws]) >= 0.9
    assert np.mean([sd_bound(x, 0.9) >= sd for x in draws[:150]]) >= 0.9
    assert np.mean([leak_bound(int(k), 60, 0.9) >= 0.1 for k in RNG.binomial(60, 0.1, 2000)]) >= 0.885
    assert all(x.mean() < mean_bound(x) <= 1 and x.std() < sd_bound(x) <= 0.5 for x in draws[:50])


def test_what_is_refused():
    for wrong in ([1.2], [-0.1], [math.nan], []):
        with pytest.raises(UnsayError):
            mean_bound(wrong)
    for level in (0.5, 1.0):
        with pytest.raises(UnsayError, match="level"):
            leak_bound(0, 10, level)
    with pytest.raises(UnsayError):
        leak_bound(11, 10)
