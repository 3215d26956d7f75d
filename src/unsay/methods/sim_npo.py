r"""SimNPO: negative preference optimisation with length-normalised likelihoods and no reference model.

    L = γ · ( −(2/β) · E[ log σ( β·( −S_θ(y|x)/|y| − δ ) ) ]_forget ) + α · R,      S = Σ_t log p(y_t | x, y_<t)
    R = nll_retain, or nothing

Paper    Fan, Liu, Lin, Jia, Zhang, Mei, Liu (2024). Simplicity Prevails: Rethinking Negative Preference Optimization
         for LLM Unlearning. arXiv:2410.07163
Limits   Nothing ties the model to what it was but the retain rows.
Differs  The paper writes the margin as one number, which is β·δ here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import PlanError
from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class SimNPO(Objective):
    """NPO on the mean log-probability, without a reference."""

    beta: float = 4.5
    """Inverse temperature β."""
    delta: float = 0.0
    """NLL per token above which an answer counts as forgotten, δ."""
    forget_weight: float = 0.125
    """γ."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "4.5 is the default")

    def forget_term(self, step: Step) -> Tensor:
        """The preference term."""
        margin = -step.forget.mean_logps - self.delta  # [B]
        return step.forget.mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
