"""Every token but the first few: m_t = 1 for t > n, else 0.

Paper    Yang (2025). CE-U: Cross Entropy Unlearning. arXiv:2503.01224 (n = 1: the first answer token depends on the
         question alone, and striking it out breaks the start of every answer)
Limits   An answer of one word is all first token.
Differs  Of an answer with no more than n tokens the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError
from ._token_weights import Item, Scorer, TokenWeights, Weights


@dataclass(frozen=True, kw_only=True)
class SkipFirst(TokenWeights):
    """Leave out the beginning of each answer."""

    first: int = 1
    """n."""

    def __post_init__(self) -> None:
        if self.first < 0:
            raise PlanError(f"first: should not be negative, got {self.first!r}", "1 is the paper's")

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """By position."""
        return [self._row(len(item.pieces)) for item in items]

    def _row(self, size: int) -> Weights:
        weights = np.ones(size, np.float32)
        weights[: min(self.first, size - 1)] = 0
        return weights
