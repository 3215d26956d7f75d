"""A model against its controls: shares of a distance, closer to which of two, further off than controls are apart.

Values come by example id and are clustered by entity, as in `stats`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import stats
from .resampling import Floats, column, interval, notes_of, ones, units_of, why_none

Values = Mapping[str, float]


@dataclass(frozen=True)
class NullBand:
    """How far a model is from retrained models, in units of how far those are from one another."""

    distance: float
    """Mean over the retrained models of the mean |difference| to each, in the units of the values."""
    among: float
    """The same between two retrained models, mean over the pairs."""
    z: float
    """(distance − among) / standard deviation over the pairs; NaN below three retrained models."""
    pairs: int
    note: str = ""


def ratio(numerator: Values, denominator: Values, entities: Mapping[str, str]) -> stats.Estimate:
    """Mean of `numerator` over mean of `denominator` on the ids both have, rows of both resampled together.

    No number where the interval of the denominator's mean touches 0: a share of nothing is none.
    """
    ids = sorted(numerator.keys() & denominator.keys())
    if not ids:
        return stats.Estimate(math.nan, None, 0, 0, "no row was measured on both models")
    whole = {i: denominator[i] for i in ids}
    below = stats.mean(whole, entities)
    units = units_of(ids, entities)
    if below.value == 0 or (below.ci is not None and below.ci[0] <= 0 <= below.ci[1]):
        return stats.Estimate(math.nan, None, len(ids), units.clusters, notes_of(units.note, "no headroom"))
    (parts, _), (sums, _) = column({i: numerator[i] for i in ids}, units), column(whole, units)

    def statistic(weights: Sequence[Floats]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((weights[0] @ parts) / (weights[0] @ sums))

    value = float(statistic(ones([units]))[0])
    ci = interval(statistic, [units], value)
    return stats.Estimate(value, ci, len(ids), units.clusters, notes_of(units.note, "" if ci else why_none([units])))


def closer(subject: Values, control: Values, before: Values, entities: Mapping[str, str]) -> stats.Difference:
    """Three-sample relative test: is the model nearer to its control than to the model before?

    D_i = |s_i − c_i| − |s_i − b_i|; the p-value is one-sided, of the null that D is no less than 0 on average, by
    flipping the signs of whole clusters. Models retrained from other seeds differ; this test does not hold that
    against anybody.

    Args:
        subject: Log-probabilities, say, of the unlearned model.
        control: Those of the retrained model.
        before: Those of the model before unlearning.
        entities: Entity by example id.
    """
    ids = sorted(subject.keys() & control.keys() & before.keys())
    d = {i: abs(subject[i] - control[i]) - abs(subject[i] - before[i]) for i in ids}
    if not d or not all(map(math.isfinite, d.values())):
        why = "a difference is not finite" if d else "no row was measured on all three models"
        return stats.Difference(math.nan, None, len(d), 0, why)
    found = stats.mean(d, entities)
    p = stats.sign_flip(d, entities, "less")
    return stats.Difference(found.value, found.ci, found.n, found.clusters, found.note, p)


def null_band(subject: Values, controls: Sequence[Values]) -> NullBand:
    """Distance of a model from several retrained models beside the distances among these.

    Args:
        subject: Values by example id.
        controls: Those of models retrained from different seeds; at least two, three for a z.
    """
    ids = sorted(set(subject).intersection(*controls))
    pairs = list(itertools.combinations(controls, 2))
    if not ids or not pairs:
        return NullBand(math.nan, math.nan, math.nan, 0, "needs two retrained models with common rows")

    def apart(one: Values, other: Values) -> float:
        return float(np.mean([abs(one[i] - other[i]) for i in ids]))

    distance = float(np.mean([apart(subject, control) for control in controls]))
    among = np.array([apart(*pair) for pair in pairs])
    spread = float(among.std(ddof=1)) if len(pairs) > 1 else 0.0
    note = "" if spread > 0 else "a z needs three retrained models that differ"
    z = (distance - float(among.mean())) / spread if spread > 0 else math.nan
    return NullBand(distance, float(among.mean()), z, len(pairs), note)


def none_seen(ids: Sequence[str], entities: Mapping[str, str], level: float = 0.95) -> float:
    """Upper bound of a rate of which not one case was seen: Clopper–Pearson, one-sided, over clusters or rows.

    0 of 40 independent rows: 7.2 %.
    """
    return stats.clopper_pearson(0, units_of(list(ids), entities).size, level=2 * level - 1)[1]
