"""Every token counts the same: m_t = 1.

Paper    The usual objective, as in Jang et al. (2023). arXiv:2210.01504
Limits   Most tokens of an answer are grammar, and get unlearned with the fact.
Differs  —
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._token_weights import Item, Scorer, TokenWeights, Weights


@dataclass(frozen=True, kw_only=True)
class All(TokenWeights):
    """No selection."""

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """Ones."""
        return [np.ones(len(item.pieces), np.float32) for item in items]
