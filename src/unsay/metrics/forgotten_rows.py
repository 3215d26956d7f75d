"""Which rows are forgotten, still known, or forgotten too much: a label per row, false discoveries under control.

Signal = mean log-probability of the answer. Null: the signals of answers that a model has not learned, either those of
the same rows under the retrained model or those of holdout rows under the subject. Each row's two-sided p-value
2·min(1 + #{null ≥ signal}, 1 + #{null ≤ signal}) / (m + 1) is adjusted after Benjamini and Hochberg; where it is ≤ q
the row is still known (above the null's median) or over-forgotten (below), otherwise forgotten: nothing tells it from
rows never seen. The score is the share of forgotten rows; `per_example` is 1 still known, 0 forgotten, −1
over-forgotten.

Paper: Benjamini and Hochberg 1995; with p-values from a shared null Bates et al. 2023 (arXiv:2104.08279).
Limits: m rows give no p-value below 2 / (m + 1); below 2/q − 1 rows no row could be called, and the null is taken to be
normal instead (Student's t for one more observation), which the note says. A row that is hard for every model can be
known and still look forgotten. Rows of one entity depend on each other.
Differs: the label is this project's; the test is textbook.

Null of 99 values 1 … 99: above all of them p = 2 · 1/100, in the middle 1:

>>> import numpy as np
>>> null = np.arange(1.0, 100.0)
>>> [float(p) for p in two_sided(np.array([100.0, 50.0]), null)]
[0.02, 1.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from .. import stats
from ..errors import PlanError
from ._shared import Floats, broken, by_row, entities, join, left_out, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored

_LABELS = {1.0: "still known", 0.0: "forgotten", -1.0: "over-forgotten"}


@dataclass(frozen=True, kw_only=True)
class ForgottenRows:
    """Share of the rows that nothing tells from rows never seen; a label for each."""

    split: str = "forget"
    against: Literal["auto", "retrained", "holdout"] = "auto"
    """The null: the same rows under the retrained model, or rows never seen under the subject; ``auto`` is the first
    that was measured."""
    others: str = "holdout"
    """The rows never seen."""
    q: float = 0.05
    """False discovery rate among the rows that are called known or over-forgotten."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if not 0 < self.q < 1:
            raise PlanError(f"q must be a rate between 0 and 1, got {self.q}", "q=0.05")

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The answers on the subject, and those of the null."""
        return (TokenStats(self.split), *self._nulls.values())

    def score(self, have: Measurements) -> Score:
        """Share of forgotten rows; `extra` has still_known, over_forgotten (shares), null (m) and rate (q)."""
        if reason := obstacle(have, self.needs[0]):
            return unscored(reason)
        reasons = {name: obstacle(have, need) for name, need in self._nulls.items()}
        against = next((name for name, reason in reasons.items() if not reason), "")
        if not against:
            return unscored(join(*reasons.values()))
        rows, need = have.rows(self.split), self._nulls[against]
        ours = by_row(have.tokens(self.needs[0]), rows, lambda a: -a.mean_nll)
        null = by_row(have.tokens(need), have.rows(need.split), lambda a: -a.mean_nll)
        if not ours or not null:
            return unscored(f"no row of split {(need if ours else self.needs[0]).split!r} has an answer token")
        if problem := broken(ours) or broken(null):
            return unscored(problem)
        ids, spread = sorted(ours), np.array([null[i] for i in sorted(null)])
        signals, how = np.array([ours[i] for i in ids]), ""
        if len(spread) >= 2 / self.q - 1:
            p = two_sided(signals, spread)
        else:
            if len(spread) < 3 or not np.isfinite(spread).all() or np.std(spread) < 1e-12:
                return unscored(f"{len(spread)} rows of the null ({against}) are too few, or do not vary")
            p = normal_two_sided(signals, spread)
            how = f"only {len(spread)} rows of the null ({against}): taken to be normal"
        adjusted = stats.benjamini_hochberg(dict(zip(ids, p.tolist(), strict=True)))
        middle = float(np.median(spread))
        labels = {i: math.copysign(1.0, ours[i] - middle) if adjusted[i] <= self.q else 0.0 for i in ids}
        share = stats.mean({i: float(x == 0) for i, x in labels.items()}, entities(rows), bounds=(0.0, 1.0))
        extra = {
            "still_known": sum(x > 0 for x in labels.values()) / len(labels),
            "over_forgotten": sum(x < 0 for x in labels.values()) / len(labels),
            "null": float(len(spread)),
            "rate": self.q,
        }
        note = join(f"against {against}", how, left_out(ours, rows, "answer tokens"), share.note)
        words = {i: label_of(x) for i, x in labels.items()}
        return Score(share.value, labels, share.n, share.ci, note, share.clusters, extra, words)

    @property
    def _nulls(self) -> dict[str, TokenStats]:
        every = {"retrained": TokenStats(self.split, model="retrained"), "holdout": TokenStats(self.others)}
        return every if self.against == "auto" else {self.against: every[self.against]}


def label_of(value: float) -> str:
    """What an entry of `per_example` means."""
    return _LABELS[value]


def two_sided(signals: Floats, null: Floats) -> Floats:
    """[n] p-values of signals against the null's m values by counting; at least 2 / (m + 1), valid for any law."""
    ranked = np.sort(null)
    above = len(ranked) - np.searchsorted(ranked, signals, "left")
    below = np.searchsorted(ranked, signals, "right")
    return np.asarray(np.minimum(1.0, 2 * (1 + np.minimum(above, below)) / (len(ranked) + 1)))


def normal_two_sided(signals: Floats, null: Floats) -> Floats:
    """[n] p-values against one more draw from the normal law that the null's m values come from: t with m − 1."""
    m = len(null)
    t = np.abs(signals - np.mean(null)) / (np.std(null, ddof=1) * math.sqrt(1 + 1 / m))
    return np.asarray(2 * special.stdtr(m - 1, -t))
