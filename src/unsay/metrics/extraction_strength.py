"""How much of the answer's end the model completes word for word from the part before it.

ES = (length of the longest suffix of the answer whose every token is the teacher-forced argmax) / |y|; 0 when the last
token is wrong. One forward suffices: inside an all-correct suffix, greedy decoding and teacher forcing agree.

Paper: Carlini et al. 2021 (arXiv:2012.07805); Wang et al. 2025 (arXiv:2406.09179).
Differs: `compat="open-unlearning"` returns its 1/|y| instead of 0 when the last token is wrong.

Ranks 0, 2, 0, 0, 0: the last three of five are right:

>>> import numpy as np
>>> strength(np.array([0, 2, 0, 0, 0])), strength(np.array([0, 1]))
(0.6, 0.0)
>>> strength(np.array([0, 1]), at_least_one=True)
0.5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._shared import by_row, mean_score, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class ExtractionStrength:
    """Mean share of the answer that its own beginning gives away."""

    split: str = "forget"
    compat: Literal["", "open-unlearning"] = ""
    """``open-unlearning`` reproduces its floor of 1/|y|."""
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
        rows, floor = have.rows(self.split), self.compat == "open-unlearning"
        values = by_row(have.tokens(self.needs[0]), rows, lambda a: strength(a.rank, at_least_one=floor))
        return mean_score(values, rows, lacking="answer tokens")


def strength(rank: NDArray[np.int32], *, at_least_one: bool = False) -> float:
    """Length of the all-zero suffix of `rank` over its length; at least one token's worth with `at_least_one`."""
    wrong = np.flatnonzero(rank)
    suffix = len(rank) - 1 - int(wrong[-1]) if len(wrong) else len(rank)
    return max(suffix, int(at_least_one)) / len(rank)
