"""The cluster bootstrap behind every interval of `stats`: what is resampled, how often, and how quantiles are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .naming import derive_seed

DRAWS = 2000
"""Bootstrap resamples."""
FEW = 8
"""Fewer entities than this: no population inference."""
_BCA = 10
_CHUNK = 500

Floats = NDArray[np.float64]
Statistic = Callable[[Sequence[Floats]], Floats]
"""Cluster weights, one [R, C_k] per stratum → the statistic under each of the R weightings."""


@dataclass(frozen=True)
class Units:
    """What is resampled in one stratum: example i belongs to unit codes[i]."""

    ids: tuple[str, ...]
    codes: NDArray[np.intp]
    size: int
    seed: int
    clusters: int
    note: str


def units_of(ids: Sequence[str], entities: Mapping[str, str], *, few: int = FEW) -> Units:
    """Entities, or the examples themselves where fewer than `few` entities are named."""
    ids = tuple(sorted(ids))
    named = [entities.get(i, "") for i in ids]
    labels = [f"entity:{e}" if e else f"row:{i}" for e, i in zip(named, ids, strict=True)]
    clusters = len(set(labels)) if any(named) else 0
    note = ""
    if 0 < clusters < few:
        note = (
            f"no population inference ({clusters} {'entity' if clusters == 1 else 'entities'}): interval over examples"
        )
        labels = list(ids)
    names, codes = np.unique(np.array(labels, dtype=object), return_inverse=True)
    return Units(ids, codes.astype(np.intp), len(names), derive_seed(0, *names), clusters, note)


def column(values: Mapping[str, float], units: Units) -> tuple[Floats, Floats]:
    """Sum and count of `values` per unit; ids without a value count nothing."""
    counted = np.array([float(i in values) for i in units.ids])
    x = np.array([float(values.get(i, 0.0)) for i in units.ids])
    sums, counts = (np.bincount(units.codes, weights, units.size) for weights in (x, counted))
    return sums.astype(np.float64), counts.astype(np.float64)


def _draws(units: Units, rng: np.random.Generator, draws: int) -> Floats:
    picks = rng.integers(0, units.size, (draws, units.size))
    picks += np.arange(draws)[:, None] * units.size
    return np.bincount(picks.ravel(), minlength=draws * units.size).reshape(draws, units.size).astype(np.float64)


def _replicates(statistic: Statistic, strata: Sequence[Units]) -> Floats:
    rngs = [np.random.default_rng([u.seed, k]) for k, u in enumerate(strata)]
    parts = []
    for start in range(0, DRAWS, _CHUNK):
        count = min(_CHUNK, DRAWS - start)
        parts.append(statistic([_draws(u, r, count) for u, r in zip(strata, rngs, strict=True)]))
    return np.concatenate(parts)


def _influence(statistic: Statistic, strata: Sequence[Units], k: int) -> Floats:
    """[C_k] jackknife influence of each unit of stratum k."""
    size = strata[k].size
    left_out = []
    for start in range(0, size, _CHUNK):
        rows = np.arange(start, min(size, start + _CHUNK))
        weights = [np.ones((len(rows), u.size)) for u in strata]
        weights[k][np.arange(len(rows)), rows] = 0.0
        left_out.append(statistic(weights))
    values = np.concatenate(left_out)
    if not np.isfinite(values).all():
        return np.full(size, np.nan)
    return np.asarray((size - 1) * (values.mean() - values))


def interval(statistic: Statistic, strata: Sequence[Units], value: float) -> tuple[float, float] | None:
    """BCa interval (percentile below 10 units) at levels widened for few units; None without any variation.

    Efron 1987; several strata: Davison & Hinkley 1997, 5.3. The percentile interval of C units is too short by the
    factor sqrt(C/(C−1)) and by z against t; taking the quantiles at Φ(± t·sqrt(C/(C−1))) repairs both (Hesterberg
    2015). With several strata the degrees of freedom are Satterthwaite's.
    """
    if min(u.size for u in strata) < 2:
        return None
    influence = [_influence(statistic, strata, k) for k in range(len(strata))]
    sizes = np.array([u.size for u in strata], dtype=np.float64)
    squares = np.array([np.sum(x**2) for x in influence])
    if not np.all(np.isfinite(squares)) or squares.sum() <= 1e-24 * max(1.0, value**2):
        return None
    variances = squares / (sizes * (sizes - 1))
    df = variances.sum() ** 2 / np.sum(variances**2 / (sizes - 1))
    widen = math.sqrt(variances.sum() / np.sum(variances * (sizes - 1) / sizes))
    z = float(special.stdtrit(df, 0.975)) * widen * np.array([-1.0, 1.0])
    found = _replicates(statistic, strata)
    found = found[np.isfinite(found)]
    if len(found) < DRAWS // 2:
        return None
    levels = special.ndtr(z)
    if sizes.min() >= _BCA:
        bias = float(special.ndtri((np.sum(found < value) + 0.5 * np.sum(found == value)) / len(found)))
        skew = sum(float(np.sum(x**3)) / c**3 for x, c in zip(influence, sizes, strict=True))
        skew /= 6 * float(np.sum(squares / sizes**2)) ** 1.5
        room = 1 - skew * (bias + z)
        if math.isfinite(bias) and np.all(room > 0):
            levels = special.ndtr(bias + (bias + z) / room)
    low, high = np.quantile(found, levels)
    return float(low), float(high)


def ones(strata: Sequence[Units]) -> list[Floats]:
    """The weights of the data themselves: every unit once."""
    return [np.ones((1, u.size)) for u in strata]


def notes_of(*notes: str) -> str:
    """Notes in order, without empty ones and repeats."""
    return "; ".join(dict.fromkeys(n for n in notes if n))


def why_none(strata: Sequence[Units]) -> str:
    """Why `interval` gave none."""
    alone = min(u.size for u in strata) < 2
    return "one example: no interval" if alone else "the values do not vary: no interval"
