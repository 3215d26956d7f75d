r"""Weighted gradient ascent: each token counts by how likely it still is.

    L_forget = −E_t[ p_t^β · NLL_t ]_forget,      p_t = p_θ(y_t | x, y_<t), the weight detached

Paper    Wang, Zhou, Zhou, Shin, Han, Weinberger (2025). Rethinking LLM Unlearning Objectives: A Gradient Perspective
         and Go Beyond (G-effect). arXiv:2502.19301
Limits   Tokens that were unlikely from the start are hardly touched.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import PlanError
from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class WGA(Objective):
    """Ascent that fades as a token is forgotten."""

    beta: float = 1.0
    """Exponent β; 0 is gradient difference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0:
            raise PlanError(f"beta: should not be negative, got {self.beta!r}", "1 is the paper's")

    def forget_term(self, step: Step) -> Tensor:
        """Minus the weighted NLL."""
        logps = step.forget.token_logps
        return step.forget.token_mean((self.beta * logps.detach()).exp() * logps)
