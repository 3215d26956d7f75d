"""How likely rows are beside rows never seen: ranks, a skew-normal law, and intervals that resample both sides.

Shared by exposure and relex, which read the same comparison on different scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

from ..resampling import Units, interval, units_of
from ._shared import Floats, Reals
from .have import AnswerStats

LEAST = 8
"""Fewest reference rows that a skew-normal law is fitted to."""
_BELOW = np.geomspace(1e-7, 40.0, 1500)
"""Distances below the end of an integral at which a density is read, in its own scale."""


def log_p(per_token: bool) -> Callable[[AnswerStats], float]:
    """How an answer's log-probability is read: mean per token, or the sum, in nats."""
    return lambda answer: -answer.mean_nll * (1 if per_token else len(answer.logp))


def bits(log_p: Mapping[str, float], reference: Floats) -> dict[str, float]:
    """Exposure by example id of rows with these log-probabilities among the m of `reference`."""
    ranked = np.sort(reference)
    ranks = {i: 1 + len(ranked) - int(np.searchsorted(ranked, x, "left")) for i, x in log_p.items()}
    return {i: math.log2((len(ranked) + 1) / rank) for i, rank in ranks.items()}


def chance(m: int) -> float:
    """Expected exposure of a row that is exchangeable with the m it is compared with, bits."""
    return math.log2(m + 1) - math.lgamma(m + 2) / math.log(2) / (m + 1)


def fitted_bits(log_p: Mapping[str, float], reference: Floats) -> dict[str, float]:
    """Exposure −log2 F(NLL) under the skew-normal law F of the references' NLL; no ceiling at log2(m + 1).

    The law has the references' mean, variance and skewness, which is cut to what such a law can have.

    Returns:
        By example id; empty with fewer than `LEAST` references, where these do not vary, or are not finite.
    """
    nll = -np.asarray(reference, dtype=np.float64)
    if len(nll) < LEAST or not np.isfinite(nll).all() or not nll.std() > 1e-9 * max(1.0, float(np.abs(nll).max())):
        return {}
    mean, spread = float(nll.mean()), float(nll.std())
    skew = float(np.clip(np.mean(((nll - mean) / spread) ** 3), -0.99, 0.99))
    part = abs(skew) ** (2 / 3)
    delta = math.copysign(math.sqrt(math.pi / 2 * part / (part + ((4 - math.pi) / 2) ** (2 / 3))), skew)
    scale = spread / math.sqrt(1 - 2 * delta**2 / math.pi)
    place = mean - scale * delta * math.sqrt(2 / math.pi)
    z = (np.array([-x for x in log_p.values()], dtype=np.float64) - place) / scale
    found = -_log_below(np.clip(z, -1e6, 20.0), delta / math.sqrt(1 - delta**2)) / math.log(2)
    return {i: float(max(0.0, x)) for i, x in zip(log_p, found, strict=True)}


def _log_below(z: Floats, shape: float) -> Floats:
    """Ln of the skew-normal distribution function, by quadrature in logs: the tails have no digits elsewhere."""
    at = z[:, None] - _BELOW
    density = math.log(2) - at**2 / 2 - math.log(2 * math.pi) / 2 + special.log_ndtr(shape * at)
    # trapezoid in ln t, since the decay below z may be a thousand times faster than the law's own width
    steps = np.gradient(np.log(_BELOW))
    return np.asarray(special.logsumexp(density + np.log(_BELOW) + np.log(steps), axis=1))


def contrast(
    ours: Mapping[str, float],
    others: Mapping[str, float],
    named: Mapping[str, str],
    kind: str,
) -> tuple[float, tuple[float, float] | None, list[Units]]:
    """A mean over `ours` relative to `others`, with an interval that resamples both, each by its entities.

    Args:
        ours: Finite log-probabilities by example id.
        others: Those of rows never seen.
        named: Entity by example id.
        kind: ``log-likelihood`` mean of ours − mean of others; ``likelihood`` mean of ours − ln mean exp(others);
            ``rank`` mean exposure among others − its expectation for a row like them, bits.

    Returns:
        Value, interval (None where nothing varies) and what was resampled.
    """
    strata = [units_of(list(ours), named), units_of(list(others), named)]
    x = np.array([ours[i] for i in strata[0].ids], dtype=np.float64)
    z = np.array([others[i] for i in strata[1].ids], dtype=np.float64)
    order = np.argsort(z, kind="stable")
    places = np.searchsorted(z[order], x, "left")
    peak = z.max()

    def statistic(weights: Sequence[Floats]) -> Floats:
        w, v = (
            np.ascontiguousarray(each.T)[u.codes] for each, u in zip(weights, strata, strict=True)
        )  # [n, R], [m, R]
        with np.errstate(divide="ignore", invalid="ignore"):
            if kind == "rank":
                above = np.vstack([np.cumsum(v[order][::-1], axis=0)[::-1], np.zeros_like(v[:1])])
                total = v.sum(axis=0)
                exposure = np.log2((total + 1) / (1 + above[places]))
                return np.asarray((w * exposure).sum(axis=0) / w.sum(axis=0) - chance(len(z)))
            mean = x @ w / w.sum(axis=0)
            if kind == "likelihood":
                return np.asarray(mean - peak - np.log(np.exp(z - peak) @ v / v.sum(axis=0)))
            return np.asarray(mean - z @ v / v.sum(axis=0))

    value = float(statistic([np.ones((1, u.size)) for u in strata])[0])
    return value, interval(statistic, strata, value), strata


def rowwise(ours: Mapping[str, float], reference: Reals, kind: str) -> dict[str, float]:
    """What `contrast` averages, by example id."""
    z = np.asarray(reference, dtype=np.float64)
    if kind == "rank":
        return {i: x - chance(len(z)) for i, x in bits(ours, z).items()}
    level = float(np.logaddexp.reduce(z) - math.log(len(z)) if kind == "likelihood" else z.mean())
    return {i: x - level for i, x in ours.items()}
