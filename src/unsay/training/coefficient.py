"""How far to go along the line through before and after, found on cheap numbers: no generation.

The farthest s for which
    p_s(keep) ≥ κ · p_0(keep)        the rows to keep hold their probability, and
    p_s(forget) ≥ p_0(holdout)       the forget rows do not become less likely than rows the model never saw,
where p is the mean over rows of exp(−NLL per answer token). Without holdout rows the second bound is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from ..data.example import Example, ForgetData
from ..errors import MethodError
from ..models.line import Line
from .batch import Row, encode_rows
from .line_search import longest_step
from .scan import answer_logps, scan

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_SAMPLE = 64
"""Rows to keep that are looked at."""


@dataclass(frozen=True)
class Point:
    """One place on the line."""

    s: float
    forget: float
    """Mean probability of the forget answers."""
    keep: float
    """Mean probability of the answers to keep: utility rows, or retain rows where the data has none."""


@dataclass(frozen=True)
class Walk:
    """What was seen on the way."""

    chosen: float
    """The farthest s within the bounds."""
    points: tuple[Point, ...]
    """Every place looked at, in that order; the first is s = 0."""
    floor: float | None
    """Mean probability of the holdout answers before; None without holdout rows."""


def farthest(
    line: Line, data: ForgetData, run: Run, *, keep: float, most: float, halvings: int = 6, looks: int = 8
) -> Walk:
    """The farthest point of the line within the bounds above, by doubling and bisection.

    Args:
        line: From before to after.
        data: Forget rows; utility or retain rows; holdout rows if there are any.
        run: Seed, progress, signals.
        keep: κ.
        most: Largest s.
        halvings: Bisections after the bracket is found.
        looks: Doublings at most.

    Raises:
        MethodError: no rows to keep, or even a tiny step breaks a bound.
    """
    kept = list(data.utility or data.retain)
    if not kept:
        raise MethodError("an automatic coefficient needs rows to keep", "give retain=, or a number for method.alpha")
    if len(kept) > _SAMPLE:
        kept = Random(run.seed).sample(kept, _SAMPLE)
    start = line.at(0.0)
    rows = {"forget": encode_rows(data.forget, start.template), "keep": encode_rows(kept, start.template)}
    floor = probability(start, encode_rows(data.holdout, start.template)) if data.holdout else None
    points: list[Point] = []

    def look(s: float) -> Point:
        run.check_stop()
        subject = line.at(s)
        points.append(Point(s, probability(subject, rows["forget"]), probability(subject, rows["keep"])))
        bar.advance()
        return points[-1]

    with run.progress("line", None, "points") as bar:
        least = keep * look(0.0).keep

        def excess(s: float) -> float:
            point = look(s)
            over = [least - point.keep] + ([] if floor is None else [floor - point.forget])
            return max(over)

        chosen = longest_step(excess, 0.0, min(1.0, most), most=most, doublings=looks, halvings=halvings)
    return Walk(chosen, tuple(points), floor)


def walk(line: Line, data: ForgetData, places: Sequence[float], tell: Callable[[Point], None]) -> list[Point]:
    """Forget and keep probabilities at given places, all rows counted; `tell` hears of each as it comes."""
    rows: Mapping[str, Sequence[Example]] = {"forget": data.forget, "keep": data.utility or data.retain}
    encoded = {role: encode_rows(members, line.at(0.0).template) for role, members in rows.items()}
    found = []
    for s in places:
        subject = line.at(s)
        found.append(Point(s, probability(subject, encoded["forget"]), probability(subject, encoded["keep"])))
        tell(found[-1])
    return found


def probability(lm: LM, rows: Sequence[Row]) -> float:
    """Mean over rows of exp(mean log-probability of the answer tokens)."""
    logps = scan(lm.model, rows, lm.template.pad_id, answer_logps)
    return float(np.mean([np.exp(own.mean(dtype=np.float64)) for own in logps]))
