r"""PDU: flat logits on the forget answers, under a bound on the retain loss that a dual variable enforces.

    L = E_t[ (max_v z_v − mean_v z_v)² ]_forget + λ · (nll_retain − ε),      λ ← max(0, λ + η · (nll_retain − ε))

Paper    Entesari, Hatami, Khaziev, Ramakrishna, Fazlyab (2025). Constrained Entropic Unlearning: A Primal-Dual
         Framework for Large Language Models. arXiv:2506.05314
Limits   Flat logits are uniform noise: the forget questions are answered by gibberish, not by a guess.
Differs  Taken where the answer tokens are predicted from. open-unlearning uses the labels' own positions, which
         misses the first answer token. ε is estimated from the retain loss before the first step (combine.slack).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..combiners._combiner import Combiner
from ..combiners.dual import Dual
from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class PDU(Objective):
    """Flatten the logits of the forget answers as far as the retain rows allow."""

    combine: Combiner = field(default_factory=Dual)
    """How the two gradients become one."""

    def forget_term(self, step: Step) -> Tensor:
        """Squared distance of the largest logit to the mean."""
        return step.forget.token_mean(step.forget.token_values(_peak))


def _peak(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """(max − mean)² of each row [C, V]; its gradient is 2·(max − mean)·(onehot(argmax) − 1/V)."""
    top = logits.max(-1, keepdim=True)
    height = top.values - logits.mean(-1, keepdim=True)
    slope = torch.full_like(logits, -1 / logits.shape[-1]).scatter_add_(1, top.indices, torch.ones_like(height))
    return height[:, 0] ** 2, slope.mul_(2 * height)
