r"""Maximum entropy: pull the forget answers toward the uniform distribution.

    L_forget = E_t[ KL( U ‖ p_θ ) ]_forget = E_t[ −log V − (1/V) · Σ_v log p_θ(v | x, y_<t) ]

Paper    Yuan, Pang, Du, Chen, Zhang, Lin (2024). A Closer Look at Machine Unlearning for Large Language Models (ME+GD).
         arXiv:2410.08109
Limits   Ends in random tokens after the forget questions; fluency there is lost by design.
Differs  A mean over the answer tokens; the authors' includes the prompt's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..training.objective import Objective
from ..training.row_loss import cross_entropy_to
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class MaxEntropy(Objective):
    """KL from the uniform distribution."""

    forget_weight: float = 0.1
    """γ."""

    def forget_term(self, step: Step) -> Tensor:
        """KL at the answer tokens."""
        view = step.forget
        return view.token_mean(view.token_values(_from_uniform))


def _from_uniform(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """KL(U ‖ p) of each row [C, V]."""
    size = logits.shape[-1]
    value, slope = cross_entropy_to(lambda z, _: torch.full_like(z, 1 / size))(logits, rows)
    return value - math.log(size), slope
