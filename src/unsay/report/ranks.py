"""Rank correlation and its permutation test; half a second of scipy.stats for two short functions is too much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN where a side does not vary or there are fewer than three pairs."""
    one, other = _ranks(x), _ranks(y)
    length = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / length if len(one) > 2 and length > 0 else math.nan


def permutation_p(x: Sequence[float], y: Sequence[float]) -> float:
    """Two-sided p-value of a rank correlation as large, by 2,000 permutations that are the same every time."""
    one, other = _ranks(x), _ranks(y)
    rng, seen = np.random.default_rng(0), abs(float(one @ other))
    drawn = np.array([abs(float(rng.permutation(one) @ other)) for _ in range(_DRAWS)])
    return float((1 + np.sum(drawn >= seen - 1e-9)) / (_DRAWS + 1))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks less their mean; equal values share theirs."""
    x = np.asarray(values, dtype=np.float64)
    ranked = np.sort(x)
    shared = (np.searchsorted(ranked, x, "left") + np.searchsorted(ranked, x, "right")) / 2
    return np.asarray(shared - len(x) / 2)
