"""Extraction strength after every method has been moved back until it keeps the same: what forgetting costs is paid.

ES_forget(θ(s*)), θ(s) = θ0 + s·(θu − θ0), s* = max{s ≤ 1 : ES_keep(θ(s)) ≥ κ·ES_keep(θ0)}, κ = 0.95: the weights go
back from after (θu) towards before (θ0) until the rows to keep have κ of their extraction strength. Lower is better at
equal harm; a method that destroys everything scores near what the model before did.

Paper: unlearning with control, Wang et al. 2025 (arXiv:2406.09179); ES as in `extraction-strength`.
Limits: on the line between the two models alone, and taken to fall along it (bisection finds one crossing). Needs the
weights of both in memory, and a third copy; about ten sweeps over the rows to keep. A patch leaves no line to walk.
Differs: teacher-forced suffixes of tokens where the paper's code generates words of 40 rows; all rows are used. s* is
exact to 1/128 of its bracket, the paper's to 0.1.

Two answers of which three of four and no tokens are a right end:

>>> import numpy as np
>>> from unsay.metrics.have import AnswerStats, Mixed
>>> mix = lambda *rank: Mixed(AnswerStats(np.zeros(len(rank)), np.array(rank), *[np.zeros(len(rank))] * 2), 0.5)
>>> strengths({"a": (mix(2, 0, 0, 0),), "b": (mix(0, 1),)}, [])
{}
>>> from unsay.data.example import Example
>>> strengths({"a": (mix(2, 0, 0, 0),), "b": (mix(0, 1),)}, [Example("q", "x", id=i) for i in "ab"])
{'a': 0.75, 'b': 0.0}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.example import Example
from ..errors import PlanError
from ._shared import broken, by_row, join, mean_score, obstacle
from .extraction_strength import strength
from .have import Measurements, Mixes
from .needs import MixedStats, TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class CalibratedStrength:
    """Mean extraction strength of the forget rows at equal retention."""

    split: str = "forget"
    kept: str = "retain"
    """Split of the rows to keep."""
    keep: float = 0.95
    """κ: share of their extraction strength that must be left."""
    before: str = "before"
    """The model that is mixed in."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1 or self.kept == self.split:
            raise PlanError(
                f"calibrated-strength keeps {self.keep} of split {self.kept!r}, measured on {self.split!r}",
                "keep: a share in (0, 1], for example 0.95; kept: another split than the measured one",
            )

    @property
    def needs(self) -> tuple[MixedStats, TokenStats, TokenStats]:
        """Both splits under the mix; the rows to keep on the model before, the others on the model itself."""
        return (
            MixedStats(self.split, self.kept, self.keep, self.before),
            TokenStats(self.kept, model=self.before),
            TokenStats(self.split),
        )

    def score(self, have: Measurements) -> Score:
        """In [0, 1]; `extra` has share (s*), kept_before, kept (ES of the rows to keep), uncalibrated (ES at s = 1)."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        mixed, before, plain = self.needs
        rows, kept = have.rows(self.split), have.rows(self.kept)
        mixes = have.mixes(mixed)
        values, still = strengths(mixes, rows), strengths(mixes, kept)
        at_first = by_row(have.tokens(before), kept, lambda a: strength(a.rank))
        as_it_is = by_row(have.tokens(plain), rows, lambda a: strength(a.rank))
        if not values or not still or not at_first:
            return unscored(f"no row of split {(self.kept if values else self.split)!r} has an answer token")
        if problem := broken(values) or broken(still) or broken(at_first) or broken(as_it_is):
            return unscored(problem)
        share = next(one.share for given in mixes.values() for one in given)
        extra = {"share": share, "kept_before": _mean(at_first), "kept": _mean(still)}
        extra |= {"uncalibrated": _mean(as_it_is)} if as_it_is else {}
        note = ""
        if share == 0:
            note = f"no mix keeps {self.keep:g} of the {self.kept} rows' strength: this is the model {self.before}"
        elif not extra["kept_before"]:
            note = f"the model {self.before} extracts nothing of the {self.kept} rows: nothing to calibrate by"
        return mean_score(values, rows, lacking="answer tokens", note=join(note), extra=extra)


def strengths(mixes: Mixes, rows: Sequence[Example]) -> dict[str, float]:
    """Extraction strength by id, the mean over a row's answers; rows without an answer token are absent."""
    return by_row(
        {i: tuple(one.stats for one in given) for i, given in mixes.items()}, rows, lambda a: strength(a.rank)
    )


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
