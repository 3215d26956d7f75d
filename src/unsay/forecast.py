"""Which rows will be costly to forget, told beforehand by how unlike the rows to keep they are.

    z(x) = (l(x) − mean_r l) / sd_r l       l: mean token loss under the model before, r: the retain rows (OOD score)
    steps(x) = (1 + max(z, 0))^a            cost(x) = (1 + max(z, 0))^b       relative to a row like the retain rows

Paper    The findings it extrapolates: Baluta, Lamblin, Tarlow, Pedregosa, Dziugaite (2024). arXiv:2411.04388
Limits   a = 0.50 [0.45, 0.54] and b = 0.85 [0.72, 0.98] were fitted to gradient ascent on a model of 0.15M weights (8
         seeds of `unsay bench id-ood size=small`), to scores up to `SEEN`; nobody has tried other models and methods,
         and those with a retain term should cost less. Where the model was taught forget and retain rows alike, a
         score says how well it learned them rather than how odd they are. It ranks rows; it is no measurement.
Differs  The paper predicts nothing; score and power law are ours. The report of a run with a retrained model says
         whether rows with a larger score were farther from it in the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from .errors import DataError

if TYPE_CHECKING:
    from .metrics.score import Score
    from .runs.run import Run

FILE = "forecast.json"
STEPS, COST = 0.50, 0.85
"""a and b: means over seeds of the slopes of ln steps and ln cost over ln(1 + z)."""
SEEN = 8.5
"""Largest mean score among the sets that a and b were fitted to; larger ones are treated as this."""
ODD = 2.0
"""Score from which a row counts as out of distribution: beyond 98 of 100 rows of a normal law."""
_GENERIC = (
    ". The retain rows are the bundled generic ones: a score says how unlike everyday questions a row is, not how "
    "unlike the data that it came with"
)
_LEAST = 8
"""Fewest retain rows that say what is usual."""


@dataclass(frozen=True)
class Expected:
    """Of one forget row."""

    score: float
    """z: retain rows have mean 0 and standard deviation 1."""
    steps: float
    """Gradient steps until it is gone, in those of a row like the retain rows."""
    cost: float
    """Loss of performance by then, likewise."""


def forecast(forget: Mapping[str, float], retain: Mapping[str, float]) -> dict[str, Expected]:
    """What to expect of each forget row.

    Args:
        forget: Mean token loss under the model before, nats, by example id; rows without a finite one are left out.
        retain: That of the rows to keep.

    Raises:
        DataError: fewer than eight retain rows with a finite loss, or all with the same, or no forget row.
    """
    usual = [x for x in retain.values() if math.isfinite(x)]
    ours = {i: x for i, x in forget.items() if math.isfinite(x)}
    if len(usual) < _LEAST or not ours or stdev(usual) <= 1e-9:
        raise DataError(
            f"{len(usual)} retain rows and {len(ours)} forget rows with a finite loss say nothing of what is odd",
            f"at least {_LEAST} retain rows that differ, and one forget row",
        )
    middle, spread = fmean(usual), stdev(usual)
    scores = {i: (x - middle) / spread for i, x in ours.items()}
    return {i: Expected(z, _power(z, STEPS), _power(z, COST)) for i, z in scores.items()}


def _power(z: float, exponent: float) -> float:
    return float((1 + min(max(z, 0.0), SEEN)) ** exponent)


def note(found: Mapping[str, Expected], *, generic: bool = False) -> str:
    """What the user should know before the run goes on; "" when every row is like the rows to keep.

    Args:
        found: By example id.
        generic: The rows to keep are the bundled generic ones.
    """
    odd = sorted((i for i, row in found.items() if row.score >= ODD), key=lambda i: (-found[i].score, i))
    if not odd:
        return ""
    worst = ", ".join(odd[:3])
    steps, cost = (fmean(getattr(found[i], name) for i in odd) for name in ("steps", "cost"))
    return (
        f"{len(odd)} of {len(found)} forget rows are unlike the retain rows (OOD score from {ODD:g}; most: {worst}): "
        f"gradient ascent is expected to need {steps:.1f} times the steps and to cost {cost:.1f} times the utility of "
        f"rows like them ({FILE}). Scores are of the model before, which may know these rows: what it was taught looks "
        f"less odd than it is{_GENERIC if generic else ''}"
    )


def write_forecast(run: Run, scores: Mapping[str, Score], *, generic: bool = False) -> None:
    """Write forecast.json and note what is costly, from scores of the model before; a reason where nothing can be said.

    Args:
        run: Where to.
        scores: By metric id; ``probability@forget`` and ``probability@retain`` are read, whose values are exp(−loss).
        generic: The retain rows are the bundled generic ones.
    """
    losses = []
    for split in ("forget", "retain"):
        score = scores.get(f"probability@{split}")
        values = score.per_example if score is not None else {}
        losses.append({i: -math.log(p) for i, p in values.items() if p > 0})
    document: dict[str, Any] = {"steps_exponent": STEPS, "cost_exponent": COST, "seen": SEEN, "rows": {}, "note": ""}
    try:
        found = forecast(*losses)
    except DataError as error:
        document["note"] = error.message
    else:
        document["rows"] = {i: asdict(row) for i, row in found.items()}
        if said := note(found, generic=generic):
            run.note(said)
    run.write_json(FILE, document)
