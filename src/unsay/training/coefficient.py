"""How far to go along the line through before and after, found on cheap numbers: no generation.

The farthest s for which
    p_s(keep) ≥ κ · p_0(keep)        the rows to keep hold their probability, and
    p_s(forget) ≥ p_0(holdout)       the forget rows do not become less likely than rows the model never saw,
where p is the mean over rows of exp(−NLL per answer token). Without holdout rows the second bound is left out: nothing
then stops it from over-forgetting. The rows to keep are the data's utility rows or, where it has none, retain rows,
which the base method may have trained on: what is held is their probability, and not a benchmark's utility.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from ..data.example import Example, ForgetData
from ..errors import MethodError
from ..models.line import Line
from ..models.search import bracket, largest_share
from .attention import fast_attention
from .batch import Row, encode_rows
from .scan import answer_hits, answer_logps, scan, strength
from .step import View
from .weights import working

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_SAMPLE = 64
"""Rows of each kind that are looked at, at most."""


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

    @property
    def looks(self) -> int:
        """How often a model was looked at, the holdout rows under the model before among them."""
        return len(self.points) + (self.floor is not None)


def farthest(
    line: Line, data: ForgetData, run: Run, *, keep: float, most: float, within: float = 0.01, doublings: int = 8
) -> Walk:
    """The farthest point of the line within the bounds above, by doubling, then closing in on the bound.

    Args:
        line: From before to after.
        data: Forget rows; utility or retain rows; holdout rows if there are any. At most 64 of each are looked at.
        run: Seed, length of rows, progress, signals; gets a note where there are no holdout rows.
        keep: κ.
        most: Largest s.
        within: How near to the bound the search ends, as a share of s.
        doublings: Doublings, or halvings, until the bound is between two places.

    Raises:
        MethodError: no rows to keep, or even a tiny step breaks a bound.
    """
    start = line.at(0.0)
    rows, others = looked_at(start, data, run)
    precision, longest = run.train.precision, max(row.length for row in (*rows["forget"], *rows["keep"], *others))
    floor: float | None = None
    points: dict[float, Point] = {}

    def excess(s: float) -> float:
        """How far beyond its bound the tighter of the two is, as a share of it; not above 0 is within."""
        if s not in points:
            run.check_stop()
            subject = line.at(s)
            with working(subject.model, precision, subject.device):
                points[s] = Point(float(s), probability(subject, rows["forget"]), probability(subject, rows["keep"]))
            bar.advance()
        over = [1 - points[s].keep / (keep * points[0.0].keep)]
        over += [] if floor is None else [1 - points[s].forget / floor]
        return max(over) if all(map(math.isfinite, over)) else 1.0

    if not others:
        run.note(
            "warning: there are no holdout rows, so the automatic alpha is bounded by the rows to keep alone and may "
            "over-forget; data.holdout= gives rows that the model never saw"
        )
    with run.progress("line", None, "points") as bar, fast_attention(start, longest):
        if others:
            with working(start.model, precision, start.device):
                floor = probability(start, others)
        excess(0.0)
        chosen = _last_within(excess, most, within, doublings)
    return Walk(chosen, tuple(points.values()), floor)


def looked_at(lm: LM, data: ForgetData, run: Run) -> tuple[dict[str, list[Row]], list[Row]]:
    """The rows that a place is judged by, ``forget`` and ``keep``, and the holdout rows; at most 64 of each.

    Raises:
        MethodError: no rows to keep.
    """
    kept = kept_rows(data, run.seed)
    chosen = [_some(data.forget, run.seed), kept, _some(data.holdout, run.seed)]
    forget, keep, others = (encode_rows(rows, lm.template, run.plan.data.max_length) for rows in chosen)
    return {"forget": forget, "keep": keep}, others


def kept_rows(data: ForgetData, seed: int) -> list[Example]:
    """The rows by which it is judged how much is left: utility or retain rows, at most 64 of them.

    Raises:
        MethodError: there are none.
    """
    kept = list(data.utility or data.retain)
    if not kept:
        raise MethodError("what is chosen automatically needs rows to keep", "give retain=, or a number")
    return _some(kept, seed)


def _some(rows: Sequence[Example], seed: int) -> list[Example]:
    return Random(seed).sample(rows, _SAMPLE) if len(rows) > _SAMPLE else list(rows)


def _last_within(excess: Callable[[float], float], most: float, near: float, doublings: int) -> float:
    """The largest place tried with no excess, at most `near` (a share) short of where it begins.

    Raises:
        MethodError: there is excess at the shortest step tried.
    """
    low, high = bracket(lambda s: excess(s) <= 0, 1.0, most=most, doublings=doublings - 1, halvings=doublings)
    if low == 0:
        raise MethodError(
            "even the smallest step along the line breaks a bound",
            "lower method.keep, or give rows to keep that the model knows",
        )
    if low == high:
        return low
    tried = [low]

    def close(s: float) -> float:
        value = excess(s)
        if value <= 0:
            tried.append(s)
        return value

    optimize.toms748(close, low, high, k=1, rtol=4e-16, xtol=near * high / 2, disp=False)
    return float(max(tried))


@dataclass(frozen=True)
class Place:
    """One place on the line, row by row."""

    s: float
    values: Mapping[str, Mapping[str, float]]
    """``forget-probability``, ``forget-strength``, ``keep-probability``, ``keep-strength``: id of a row → number."""


def inspect(lm: LM, data: ForgetData, s: float = 0.0, *, max_length: int | None = None) -> Place:
    """Probability and extraction strength of every forget row and every row to keep (utility or retain rows).

    Args:
        lm: The model at `s`.
        data: All rows are read.
        s: Its place on the line.
        max_length: Tokens at which a row is cut; None cuts none.
    """
    values: dict[str, dict[str, float]] = {}
    for role, members in (("forget", data.forget), ("keep", data.utility or data.retain)):
        rows, ids = encode_rows(members, lm.template, max_length), [row.id for row in members]
        found = dict(zip(ids, scan(lm.model, rows, lm.template.pad_id, _both), strict=True))
        values[f"{role}-probability"] = {i: _probability(v[:, 0]) for i, v in found.items()}
        values[f"{role}-strength"] = {i: strength(v[:, 1]) for i, v in found.items()}
    return Place(s, values)


def calibrated(line: Line, data: ForgetData, *, keep: float = 0.95, max_length: int | None = None) -> float:
    """The largest s up to 1 at which the rows to keep hold `keep` of their extraction strength (UWC).

    Source: Wang et al. (2025), arXiv:2406.09179, with their τ = 0.95. 0 where nothing short of the model before does.
    Rows are cut at `max_length` tokens.
    """
    kept = list(data.utility or data.retain)

    def known(s: float) -> float:
        lm = line.at(s)
        hits = scan(lm.model, encode_rows(kept, lm.template, max_length), lm.template.pad_id, answer_hits)
        return float(np.mean([strength(own) for own in hits]))

    return largest_share(known, keep)


def probability(lm: LM, rows: Sequence[Row]) -> float:
    """Mean over rows of exp(mean log-probability of the answer tokens)."""
    logps = scan(lm.model, rows, lm.template.pad_id, answer_logps)
    return float(np.mean([_probability(own) for own in logps]))


def _probability(logps: NDArray[np.float32]) -> float:
    return float(np.exp(logps.mean(dtype=np.float64)))


def _both(view: View) -> Tensor:
    """[A, 2] log-probabilities and hits, from one forward."""
    return torch.stack([answer_logps(view), answer_hits(view)], dim=-1)
