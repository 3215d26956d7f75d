"""How far two models of a run are apart on one metric, with an interval: paired by example where the rows allow it."""

from dataclasses import dataclass
from math import hypot

from .. import stats
from .folder import RunFolder


@dataclass(frozen=True)
class Gap:
    """A difference between two models on one metric."""

    value: float
    ci: tuple[float, float] | None
    """95 % interval: clustered and paired by example, or both models' intervals combined as if independent."""
    paired: bool

    def over(self, scale: float) -> "Gap":
        """The same difference in units of `scale` (not zero, maybe negative)."""
        ends = sorted((self.ci[0] / scale, self.ci[1] / scale)) if self.ci else None
        return Gap(self.value / scale, (ends[0], ends[1]) if ends else None, self.paired)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.ci is not None and (self.ci[0] > 0 or self.ci[1] < 0)


def gap(run: RunFolder, metric: str, one: str, other: str) -> Gap | None:
    """`one` − `other` on `metric`; None unless both are scored.

    The paired interval is used only when the per-example values average to the metric's own: a harmonic mean or a
    p-value is no mean over examples.
    """
    a, b = run.score(one, metric), run.score(other, metric)
    if a.value is None or b.value is None:
        return None
    value = a.value - b.value
    ours, theirs, entities = _pairs(run, metric, one, other)
    if len(ours) >= 2:
        paired = stats.paired_difference(ours, theirs, entities)
        if paired.ci and abs(paired.value - value) <= 1e-3 * max(1.0, abs(value)):
            return Gap(value, paired.ci, paired=True)
    if a.ci is None or b.ci is None:
        return Gap(value, None, paired=False)
    low = hypot(a.value - a.ci[0], b.ci[1] - b.value)
    high = hypot(a.ci[1] - a.value, b.value - b.ci[0])
    return Gap(value, (value - low, value + high), paired=False)


def _pairs(
    run: RunFolder, metric: str, one: str, other: str
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    entities: dict[str, str] = {}
    for sample in run.samples:
        by_tag = sample.scores.get(metric, {})
        a, b = by_tag.get(one), by_tag.get(other)
        if a is not None and b is not None:
            ours[sample.id], theirs[sample.id] = a, b
            if sample.entity:
                entities[sample.id] = sample.entity
    return ours, theirs, entities
