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
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ..errors import PlanError
from ..training.gradient import GradientMethod
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class SimNPO(GradientMethod):
    """NPO on the mean log-probability, without a reference."""

    beta: float = 4.5
    """Inverse temperature β."""
    delta: float = 0.0
    """NLL per token above which an answer counts as forgotten, δ."""
    forget_weight: float = 0.125
    """γ."""
    retain: Literal["none", "nll"] = "nll"
    """What holds the retain rows."""
    retain_weight: float = 1.0
    """α."""

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "4.5 is the default")

    @property
    def uses_retain(self) -> bool:  # type: ignore[override]
        """Only with a retain term."""
        return self.retain != "none"

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The preference term, and the retain term."""
        margin = -step.forget.mean_logps - self.delta  # [B]
        forget = step.forget.mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
        terms = {"forget": self.forget_weight * forget}
        if self.retain != "none":
            terms["retain"] = self.retain_weight * step.retain.nll
        return terms
