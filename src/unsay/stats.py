"""Intervals and tests for values that come in clusters.

Twenty questions about one author are not twenty independent observations, so every interval here resamples entities.
All functions take values by example id and the entity of each id; an id without entity is a cluster of its own.
Ids are sorted before anything else and the random numbers are seeded by the cluster names: the same data give the
same interval in any order and on any machine, and models measured on the same rows are resampled alike.

With fewer than `resampling.FEW` entities nothing can be said about entities that were not asked about: the interval is
then over the examples, and the note says "no population inference".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .errors import UnsayError
from .resampling import Floats, Statistic, Units, column, interval, notes_of, ones, units_of, why_none

_EXACT_FLIPS = 14


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    ci: tuple[float, float] | None
    """None when there is no honest interval; `note` says why."""
    n: int
    """Examples."""
    clusters: int
    """Entities (and rows without one) that were counted; 0 when no row names an entity."""
    note: str = ""


@dataclass(frozen=True)
class Difference(Estimate):
    """Mean paired difference, its interval and the p-value of a sign-flip test that flips whole clusters."""

    p: float = math.nan


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a mean paired difference against ±margin."""

    verdict: str
    """``equivalent``, ``different`` or ``inconclusive``."""
    difference: float
    p: float
    """The larger one-sided p; below .05 means equivalent."""
    mde: float
    """Smallest difference that this many clusters find with 80 % power at .05."""
    needs: int
    """Examples needed for 80 % power to show equivalence when there is no true difference."""
    note: str = ""


def mean(
    values: Mapping[str, float], entities: Mapping[str, str], *, bounds: tuple[float, float] | None = None
) -> Estimate:
    """Mean over examples with a cluster-bootstrap interval.

    Args:
        values: Finite values by example id; at least one.
        entities: Entity by example id ("" or absent: the row is its own cluster).
        bounds: The least and greatest possible value. When every value sits on one of them, the interval is
            Clopper–Pearson's over the clusters (forty zeros do not prove a rate of 0).
    """
    units = units_of(list(values), entities)
    sums, counts = column(values, units)

    def statistic(weights: Sequence[Floats]) -> Floats:
        return np.asarray((weights[0] @ sums) / (weights[0] @ counts))

    value = float(statistic(ones([units]))[0])
    if bounds is not None and units.size > 1 and set(values.values()) in ({bounds[0]}, {bounds[1]}):
        at = next(iter(values.values()))
        share = clopper_pearson(units.size if at == bounds[1] else 0, units.size)
        low, high = (bounds[0] + (bounds[1] - bounds[0]) * s for s in share)
        note = notes_of(units.note, f"every value is {at:g}: Clopper–Pearson interval")
        return Estimate(value, (low, high), len(values), units.clusters, note)
    ci = interval(statistic, [units], value)
    note = units.note if ci else notes_of(units.note, why_none([units]))
    return Estimate(value, ci, len(values), units.clusters, note)


def harmonic_mean(groups: Mapping[str, Sequence[Mapping[str, float]]], entities: Mapping[str, str]) -> Estimate:
    """Harmonic mean of the means of several columns; columns of one group share their rows and are resampled together.

    Args:
        groups: Group (split) → its columns, each values ≥ 0 by example id. Any column with mean 0 makes the result 0.
        entities: Entity by example id.
    """
    strata, columns = [], []
    for k, group in enumerate(groups.values()):
        strata.append(units_of(sorted({i for values in group for i in values}), entities))
        columns += [(k, *column(values, strata[k])) for values in group]

    def statistic(weights: Sequence[Floats]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.array([(weights[k] @ sums) / (weights[k] @ counts) for k, sums, counts in columns])
            return np.asarray(len(columns) / np.sum(1 / means, axis=0))

    value = float(statistic(ones(strata))[0])
    ci = None if value == 0 else interval(statistic, strata, value)
    why = "" if ci else "a part is 0" if value == 0 else why_none(strata)
    notes = [f"{name}: {u.note}" for name, u in zip(groups, strata, strict=True) if u.note]
    return Estimate(value, ci, sum(len(u.ids) for u in strata), sum(u.clusters for u in strata), notes_of(*notes, why))


def area(members: Sequence[float] | Floats, others: Sequence[float] | Floats) -> float:
    """P(member > other) + ½ P(equal): the area under the ROC curve. Infinite scores are ordered like any other."""
    low, high, _ = _ties(np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64))
    return float((low + high).sum() / (2 * len(low) * len(others)))


def _ties(members: Floats, others: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    order = np.argsort(others, kind="stable")
    ranked = others[order]
    return np.searchsorted(ranked, members, "left"), np.searchsorted(ranked, members, "right"), order


def auc(members: Mapping[str, float], others: Mapping[str, float], entities: Mapping[str, str]) -> Estimate:
    """Area under the ROC curve with an interval that resamples members and non-members by cluster, each on their own.

    Perfect separation gets Clopper–Pearson's bound over min(C_members, C_others) independent pairs.
    """
    strata = [units_of(list(members), entities), units_of(list(others), entities)]
    statistic = _area_statistic(members, others, strata)
    value = area(list(members.values()), list(others.values()))
    n, clusters = len(members) + len(others), sum(u.clusters for u in strata)
    notes = _named(strata)
    pairs = min(u.size for u in strata)
    if value in (0.0, 1.0) and pairs > 1:
        note = notes_of(*notes, "perfect separation: Clopper–Pearson interval")
        return Estimate(value, clopper_pearson(round(value * pairs), pairs), n, clusters, note)
    ci = interval(statistic, strata, value)
    return Estimate(value, ci, n, clusters, notes_of(*notes, "" if ci else why_none(strata)))


def auc_pair(
    first: tuple[Mapping[str, float], Mapping[str, float]],
    second: tuple[Mapping[str, float], Mapping[str, float]],
    entities: Mapping[str, str],
    combine: Callable[[Floats, Floats], Floats],
) -> Estimate:
    """A function of two models' AUCs with an interval that resamples the rows of both together.

    Args:
        first: Members and non-members of one model; rows that the other model lacks are left out.
        second: Those of the other model.
        entities: Entity by example id.
        combine: The AUCs [R] of both → the statistic [R]; where it is not finite the resample is dropped.
    """
    common = [sorted(a.keys() & b.keys()) for a, b in zip(first, second, strict=True)]
    if not all(common):
        return Estimate(math.nan, None, 0, 0, "no row was measured on both models")
    strata = [units_of(ids, entities) for ids in common]
    statistics = []
    for model in (first, second):
        members, others = ({i: part[i] for i in ids} for part, ids in zip(model, common, strict=True))
        statistics.append(_area_statistic(members, others, strata))

    def statistic(weights: Sequence[Floats]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return combine(*(of(weights) for of in statistics))

    value = float(statistic(ones(strata))[0])
    ci = interval(statistic, strata, value) if math.isfinite(value) else None
    why = (
        why_none(strata) if min(u.size for u in strata) < 2 else "the AUCs do not vary, or one row decides: no interval"
    )
    note = notes_of(*_named(strata), "" if ci else why)
    return Estimate(value, ci, sum(len(ids) for ids in common), sum(u.clusters for u in strata), note)


def _area_statistic(members: Mapping[str, float], others: Mapping[str, float], strata: Sequence[Units]) -> Statistic:
    x = np.array([members[i] for i in strata[0].ids], dtype=np.float64)
    y = np.array([others[i] for i in strata[1].ids], dtype=np.float64)
    low, high, order = _ties(x, y)

    def statistic(weights: Sequence[Floats]) -> Floats:
        # [n, R]: whole rows are gathered, which is several times faster than columns
        w = np.ascontiguousarray(weights[0].T)[strata[0].codes]
        below = np.cumsum(np.ascontiguousarray(weights[1].T)[strata[1].codes[order]], axis=0)
        below = np.vstack([np.zeros_like(below[:1]), below])
        wins = np.einsum("nr,nr->r", w, below[low] + below[high])
        return np.asarray(wins / (2 * w.sum(axis=0) * below[-1]))

    return statistic


def _named(strata: Sequence[Units]) -> list[str]:
    return [f"{name}: {u.note}" for name, u in zip(("members", "non-members"), strata, strict=True) if u.note]


def estimate(
    values: Mapping[str, float], entities: Mapping[str, str], statistic: Callable[[Floats], float]
) -> Estimate:
    """Any statistic of the values (median, share below a threshold) with a cluster-bootstrap interval.

    Args:
        values: Values by example id; at least one.
        entities: Entity by example id.
        statistic: A function of the [n] values, whatever their order.
    """
    units = units_of(list(values), entities)
    x = np.array([float(values[i]) for i in units.ids])

    def weighted(weights: Sequence[Floats]) -> Floats:
        repeats = weights[0].astype(np.intp)[:, units.codes]
        return np.array([statistic(np.repeat(x, row)) for row in repeats])

    value = float(statistic(x))
    ci = interval(weighted, [units], value)
    return Estimate(value, ci, len(x), units.clusters, units.note if ci else notes_of(units.note, why_none([units])))


def paired_difference(a: Mapping[str, float], b: Mapping[str, float], entities: Mapping[str, str]) -> Difference:
    """Mean of a − b over the ids both have, clustered interval, and the p-value of a sign-flip test over clusters.

    The test is exact up to 14 clusters and uses 9,999 random flips above.
    """
    d = {i: float(a[i]) - float(b[i]) for i in sorted(a.keys() & b.keys())}
    if not d:
        return Difference(math.nan, None, 0, 0, "no row was measured on both models")
    if not all(math.isfinite(x) for x in d.values()):
        return Difference(math.nan, None, len(d), 0, "a difference is not finite")
    found = mean(d, entities)
    return Difference(found.value, found.ci, found.n, found.clusters, found.note, sign_flip(d, entities))


def sign_flip(
    differences: Mapping[str, float],
    entities: Mapping[str, str],
    alternative: Literal["two-sided", "less", "greater"] = "two-sided",
) -> float:
    """p-value of the null that each cluster's differences are as likely with the opposite sign.

    Args:
        differences: Finite values by example id.
        entities: Entity by example id.
        alternative: What the mean is if the null is false: not 0, below 0 or above 0.
    """
    units = units_of(list(differences), entities, few=0)
    sums, _ = column(differences, units)
    size = units.size
    if size <= _EXACT_FLIPS:
        signs = 1 - 2 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)
    else:
        signs = np.random.default_rng(units.seed).integers(0, 2, (9999, size), dtype=np.int8) * 2 - 1
    way = {"two-sided": np.abs, "less": np.negative, "greater": np.positive}[alternative]
    seen = way(sums.sum()) - 1e-12 * np.abs(sums).sum()
    further = np.asarray(way(signs @ sums)) >= seen
    return float(np.mean(further) if size <= _EXACT_FLIPS else (1 + np.sum(further)) / 10000)


def equivalence(
    a: Mapping[str, float], b: Mapping[str, float], entities: Mapping[str, str], margin: float
) -> Equivalence:
    """Whether the mean of a − b lies within ±margin: TOST, clustered standard error, t with C − 1 degrees of freedom.

    Args:
        a: Values by example id.
        b: Values of the model compared with.
        entities: Entity by example id.
        margin: Declared beforehand, in the units of the values; positive.

    Raises:
        UnsayError: the margin is not positive.
    """
    if not margin > 0:
        raise UnsayError(
            f"an equivalence margin must be positive, got {margin}", "for example 0.1 × (before − retrained)"
        )
    d = {i: float(a[i]) - float(b[i]) for i in sorted(a.keys() & b.keys())}
    if len(d) < 2:
        return Equivalence(
            "inconclusive", next(iter(d.values()), math.nan), math.nan, math.nan, 0, "fewer than two pairs"
        )
    units = units_of(list(d), entities)
    sums, counts = column(d, units)
    n, size = len(d), units.size
    middle = float(sums.sum() / n)
    se = math.sqrt(size / (size - 1) * float(np.sum((sums - counts * middle) ** 2))) / n
    if se <= 1e-12 * max(1.0, abs(middle)):
        verdict = "equivalent" if abs(middle) < margin else "different"
        return Equivalence(
            verdict, middle, float(verdict == "different"), 0.0, n, notes_of(units.note, "the differences do not vary")
        )
    df = size - 1
    p = 1 - float(special.stdtr(df, (margin - abs(middle)) / se))
    different = 2 * float(special.stdtr(df, -abs(middle) / se)) < 0.05
    verdict = "equivalent" if p < 0.05 else "different" if different else "inconclusive"
    mde = float(special.stdtrit(df, 0.975) + special.stdtrit(df, 0.8)) * se
    needs = math.ceil(n * ((special.ndtri(0.95) + special.ndtri(0.9)) * se / margin) ** 2)
    return Equivalence(verdict, middle, p, mde, needs, units.note)


def hanley_mcneil(area: float, members: int, others: int) -> float:
    """Standard error of an AUC of independent examples (Hanley & McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    total = area * (1 - area) + (members - 1) * (q1 - area**2) + (others - 1) * (q2 - area**2)
    return math.sqrt(max(0.0, total) / (members * others))


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval; never 0 % wide for 0 of n."""
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values by name, in the order given; each is at least its unadjusted p and at most 1."""
    worst, adjusted = 0.0, {}
    for i, name in enumerate(sorted(p_values, key=lambda k: (p_values[k], k))):
        worst = max(worst, min(1.0, (len(p_values) - i) * p_values[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values by name, in the order given: rejecting those ≤ q keeps the false discovery rate at q.

    Benjamini & Hochberg 1995: min over k ≥ rank of m·p_(k)/k.
    """
    least, adjusted = 1.0, {}
    ranked = sorted(p_values, key=lambda k: (p_values[k], k))
    for rank in range(len(ranked), 0, -1):
        least = min(least, len(ranked) * p_values[ranked[rank - 1]] / rank)
        adjusted[ranked[rank - 1]] = least
    return {name: adjusted[name] for name in p_values}


def ks(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> tuple[float, float]:
    """Two-sample Kolmogorov–Smirnov: (D, p), as `scipy.stats.ks_2samp`."""
    from scipy import stats  # half a second: only forget quality pays for it

    statistic, p = stats.ks_2samp(a, b)
    return float(statistic), float(p)
