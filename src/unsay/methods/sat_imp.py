r"""SatImp: token weights by saturation and by importance.

    L_forget = −E_t[ p_t^β₁ · (1 − p_t)^β₂ · NLL_t ]_forget,      p_t = p_θ(y_t | x, y_<t), the weights detached

Paper    Yang, Wang, Huang, Liu, Zhang, Han (2025). Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning.
         arXiv:2505.11953
Limits   With β₁ = 5 a token of probability 0.5 counts 1/64: most of the work is done while the model is still sure.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import PlanError
from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class SatImp(Objective):
    """Ascent on tokens that are likely, but not certain."""

    beta1: float = 5.0
    """Exponent of p, β₁ (saturation)."""
    beta2: float = 1.0
    """Exponent of 1 − p, β₂ (importance)."""
    forget_weight: float = 0.1
    """γ."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta1 < 0 or self.beta2 < 0:
            raise PlanError("beta1 and beta2 should not be negative", "5 and 1 are the paper's")

    def forget_term(self, step: Step) -> Tensor:
        """Minus the weighted NLL."""
        logps = step.forget.token_logps
        fixed = logps.detach()
        weights = (self.beta1 * fixed).exp() * (-torch.expm1(fixed)).clamp(min=0) ** self.beta2
        return step.forget.token_mean(weights * logps)
