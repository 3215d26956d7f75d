"""Share of the answer's tokens that the model would itself write next, given the right beginning.

EM = |{t : argmax of the model at t is the gold token}| / |y|, teacher-forced, the end-of-turn token included; the
score is the mean over rows.

Paper: Tirumala et al. 2022 (arXiv:2205.10770), as used by open-unlearning (arXiv:2506.12618).
Differs: a tie for the top counts as a hit.

Ranks 0, 3, 0, 0 (0 is the argmax) hit three of four tokens:

>>> import numpy as np
>>> share_exact(np.array([0, 3, 0, 0]))
0.75
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._shared import by_row, mean_score, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class ExactMemorization:
    """Mean share of answer tokens predicted exactly."""

    split: str = "forget"
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The answer's token ranks."""
        return (TokenStats(self.split),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        values = by_row(have.tokens(self.needs[0]), rows, lambda a: share_exact(a.rank))
        return mean_score(values, rows, lacking="answer tokens")


def share_exact(rank: NDArray[np.int32]) -> float:
    """Share of ranks that are 0."""
    return float(np.mean(rank == 0))
