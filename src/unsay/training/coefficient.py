"""How far to go along the line through before and after, found on cheap numbers: no generation.

The farthest s for which
    p_s(keep) ≥ κ · p_0(keep)        the rows to keep hold their probability, and
    p_s(forget) ≥ p_0(holdout)       the forget rows do not become less likely than rows the model never saw,
where p is the mean over rows of exp(−NLL per answer token). Without holdout rows the second bound is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from ..data.example import ForgetData
from ..errors import MethodError
from ..models.line import Line
from .batch import Row, encode_rows
from .line_search import longest_step
from .scan import answer_hits, answer_logps, scan, strength

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


@dataclass(frozen=True)
class Place:
    """One place on the line, row by row."""

    s: float
    values: Mapping[str, Mapping[str, float]]
    """``forget-probability``, ``forget-strength``, ``keep-probability``, ``keep-strength``: id of a row → number."""


def inspect(lm: LM, data: ForgetData, s: float = 0.0) -> Place:
    """Probability and extraction strength of every forget row and every row to keep (utility or retain rows)."""
    values: dict[str, dict[str, float]] = {}
    for role, members in (("forget", data.forget), ("keep", data.utility or data.retain)):
        rows, ids = encode_rows(members, lm.template), [row.id for row in members]
        logps = scan(lm.model, rows, lm.template.pad_id, answer_logps)
        hits = scan(lm.model, rows, lm.template.pad_id, answer_hits)
        values[f"{role}-probability"] = {
            i: float(np.exp(v.mean(dtype=np.float64))) for i, v in zip(ids, logps, strict=True)
        }
        values[f"{role}-strength"] = {i: strength(v) for i, v in zip(ids, hits, strict=True)}
    return Place(s, values)


def calibrated(line: Line, data: ForgetData, *, keep: float = 0.95, halvings: int = 7) -> float:
    """The largest s up to 1 at which the rows to keep hold `keep` of their extraction strength (UWC).

    Source: Wang et al. (2025), arXiv:2406.09179, with their τ = 0.95. 0 where nothing short of the model before does.
    """
    kept = list(data.utility or data.retain)

    def known(s: float) -> float:
        lm = line.at(s)
        hits = scan(lm.model, encode_rows(kept, lm.template), lm.template.pad_id, answer_hits)
        return float(np.mean([strength(own) for own in hits]))

    least = keep * known(0.0)
    try:
        return longest_step(lambda s: least - known(s), 0.0, 1.0, most=1.0, doublings=8, halvings=halvings)
    except MethodError:
        return 0.0


def probability(lm: LM, rows: Sequence[Row]) -> float:
    """Mean over rows of exp(mean log-probability of the answer tokens)."""
    logps = scan(lm.model, rows, lm.template.pad_id, answer_logps)
    return float(np.mean([np.exp(own.mean(dtype=np.float64)) for own in logps]))
