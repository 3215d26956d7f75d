"""Loss selection: only the tokens the model still knows best.

    m_t = 1 for the ⌈q·n⌉ of the n tokens of an answer with the lowest NLL_θ at this step, else 0

Paper    Wang, Han, Yang, Zhu, Liu, Sugiyama (2025). Towards Effective Evaluations and Comparisons for LLM Unlearning
         Methods. arXiv:2406.09179 (a trick it finds helpful for gradient ascent, with q = 0.8)
Limits   Tokens beyond all hope are left where they are.
Differs  Chosen within each answer rather than within the batch, so that a row does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import PlanError
from ._token_weights import Item, Scorer, TokenWeights, Weights


@dataclass(frozen=True, kw_only=True)
class LowestLoss(TokenWeights):
    """Keep the `share` of an answer's tokens with the lowest loss, chosen anew at every step."""

    share: float = 0.8
    """q."""
    dynamic = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PlanError(f"share: should lie between 0 and 1, got {self.share!r}", "0.8 is the paper's")

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """Equal weights with the sum that `now` will have."""
        sizes = [len(item.pieces) for item in items]
        return [np.full(n, math.ceil(self.share * n) / n, np.float32) for n in sizes]

    def now(self, nll: Tensor, mask: Tensor) -> Tensor:
        """Ones and zeros."""
        order = nll.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
        counts = (self.share * mask.sum(1, keepdim=True)).double().ceil()
        return ((order < counts) & mask).float()
