r"""Negative preference optimisation: treat the forget answers as rejected, with no winner.

    L = −(2/β) · E[ log σ( −β · (S_θ − S_θ0)(y|x) ) ]_forget + α · R,      S = Σ_t log p(y_t | x, y_<t)
    R = nll_retain,  or E_t[ KL(p_θ0 ‖ p_θ) ]_retain,  or nothing

Paper    Zhang, Lin, Bai, Mei (2024). Negative Preference Optimization: From Catastrophic Collapse to Effective
         Unlearning. arXiv:2404.05868
Limits   β → 0 is gradient ascent; a large β stops early. At θ = θ0 the loss is (2/β)·ln 2.
Differs  Log-probabilities are summed over the answer tokens, as in the authors' code, not averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import PlanError
from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class NPO(Objective):
    """Bounded ascent: an example counts less the more it is forgotten."""

    beta: float = 0.1
    """Inverse temperature β."""
    compares = "logps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "0.1 is the paper's")

    def forget_term(self, step: Step) -> Tensor:
        """The preference term."""
        ratio = step.forget.logps - step.forget.ref.logps  # [B]
        return step.forget.mean(-2 / self.beta * F.logsigmoid(-self.beta * ratio))
