"""What n samples of a model's answers allow to say of all its answers: upper bounds that hold with a stated certainty.

With X in [0, 1] how much an answer gives away, F̂ the empirical distribution of n samples, α = 1 − level:

    P(leak)   ≤ BetaInv(1 − α; s + 1, n − s)                          s of n samples leak (Clopper and Pearson)
    E X       ≤ 1 − Σ_i (x_{i+1} − x_i) · max(F̂(x_i) − ε, 0)          (Anderson), x_{n+1} = 1
                ε = √( ln(1/α) / 2n )                                 (Dvoretzky, Kiefer, Wolfowitz; Massart)
    SD X      ≤ max_t SD(F_t),   F_t = min(max(t, F̂ − ε₂), F̂ + ε₂),   ε₂ = √( ln(2/α) / 2n )

F_t: mass as far apart as the band allows. Among the distributions F in the band the variance is the largest for one of
these, since Var F = min_c E_F (X − c)², and E_F (X − c)² grows when mass moves away from c.

Paper    Scholten, Günnemann, Schwinn (2025). A Probabilistic Perspective on Unlearning and Alignment for Large Language
         Models. arXiv:2410.03523
Limits   Each bound is about the samples' own prompt and way of sampling; over several prompts α has to be divided.
Differs  The paper bounds the deviation from a grid of values; here the steps are the samples', and the last bound is
         the exact worst case over the band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import UnsayError
from .stats import clopper_pearson

Floats = NDArray[np.float64]


def leak_bound(leaks: int, n: int, level: float = 0.95) -> float:
    """Upper bound of the probability of a leak when `leaks` of `n` independent samples leak.

    >>> [round(leak_bound(0, n), 3) for n in (40, 128, 300)]
    [0.072, 0.023, 0.01]

    Raises:
        UnsayError: no sample, more leaks than samples, or a level outside (½, 1).
    """
    _check(n, level)
    if not 0 <= leaks <= n:
        raise UnsayError(f"{leaks} of {n} samples cannot leak")
    return clopper_pearson(leaks, n, 2 * level - 1)[1]


def dkw(n: int, level: float = 0.95, *, sides: int = 1) -> float:
    """ε: half the height of the band around the empirical distribution of n samples (one of its sides by default).

    Raises:
        UnsayError: no sample, or a level outside (½, 1).
    """
    _check(n, level)
    return math.sqrt(math.log(sides / (1 - level)) / (2 * n))


def mean_bound(samples: Sequence[float] | Floats, level: float = 0.95) -> float:
    """Upper bound of the mean of X.

    Raises:
        UnsayError: no sample, a sample outside [0, 1], or a level outside (½, 1).
    """
    found = _sorted(samples)
    reached = np.maximum(np.arange(1, len(found) + 1) / len(found) - dkw(len(found), level), 0.0)
    return 1.0 - float(np.diff(found, append=1.0) @ reached)


def sd_bound(samples: Sequence[float] | Floats, level: float = 0.95) -> float:
    """Upper bound of the standard deviation of X, at most ½.

    Raises:
        UnsayError: no sample, a sample outside [0, 1], or a level outside (½, 1).
    """
    found = _sorted(samples)
    margin = dkw(len(found), level, sides=2)
    edges = np.concatenate([[0.0], found, [1.0]])
    steps = np.arange(len(found) + 1) / len(found)
    low, high = np.maximum(steps - margin, 0.0), np.minimum(steps + margin, 1.0)

    def variance(levels: Floats) -> Floats:
        """[m] Var X under the m distributions clip(level, low, high), by E X^r = ∫ r x^(r−1) (1 − F(x)) dx."""
        above = 1.0 - np.clip(levels[:, None], low, high)
        return np.asarray(above @ np.diff(edges**2) - (above @ np.diff(edges)) ** 2)

    knots = np.unique(np.concatenate([low, high]))
    middle, half = (knots[1:] + knots[:-1]) / 2, np.diff(knots) / 2
    left, centre, right = variance(knots[:-1]), variance(middle), variance(knots[1:])
    bend = left - 2 * centre + right
    with np.errstate(divide="ignore", invalid="ignore"):  # between two knots it is a parabola
        top = np.where(bend < 0, middle - half * (right - left) / (2 * bend), middle)
    worst = variance(np.concatenate([knots, np.clip(top, knots[:-1], knots[1:])])).max()
    return math.sqrt(min(max(0.0, float(worst)), 0.25))


def _check(n: int, level: float) -> None:
    if n < 1:
        raise UnsayError("a bound needs at least one sample")
    if not 0.5 < level < 1:
        raise UnsayError(f"the level of a bound is {level}, expected above 0.5 and below 1", "0.95")


def _sorted(samples: Sequence[float] | Floats) -> Floats:
    found = np.sort(np.asarray(samples, dtype=np.float64))
    if found.size and not (found[0] >= 0 and found[-1] <= 1):
        raise UnsayError("samples should lie between 0 and 1")
    return found
