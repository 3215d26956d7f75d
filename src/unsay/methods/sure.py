r"""SURE: train only the rows of the weight matrices on which the forget loss depends most.

    θu = θ0 + m ⊙ Δθ,      m_i = 1[ ‖∇_{θ_i} nll_forget‖ ≥ γ ]      i: rows of all matrices, at θ0;  γ their quantile

Paper    Zhang, Li, Zhang, Wei, Zhang, Ma, Zhang, Li (2024). Does your LLM truly unlearn? An embarrassingly simple
         approach to recover unlearned knowledge. arXiv:2410.16454 (saliency-based, with a large learning rate)
Limits   The mask follows the forget rows as they are asked; what else a row of weights does is not looked at.
Differs  One mask from the whole forget set before the first step. A public port counts the forget gradient twice,
         drops accumulated gradients, and masks each micro-batch anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import MethodError, PlanError
from ..training.full_gradient import encode_roles, full_gradient, mean_nll, working_copy
from ..training.gradient import GradientMethod, train_by
from ..training.plugs import Limit
from ._protocol import Method
from .grad_diff import GradDiff

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class SURE:
    """Restrict another gradient method to the salient rows."""

    base: Method = field(default_factory=GradDiff)
    """The gradient method to restrict, such as ``{name: npo, retain: kl}``."""
    quantile: float = 0.9
    """Share of the rows that stay as they are."""

    def __post_init__(self) -> None:
        if not 0 <= self.quantile < 1:
            raise PlanError(f"quantile: should be at least 0 and below 1, got {self.quantile!r}", "0.9")
        if not isinstance(self.base, GradientMethod):
            raise PlanError("base: only a method that takes gradient steps can be masked", "base=grad-diff")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """One gradient for the mask, then the base method within it."""
        assert isinstance(self.base, GradientMethod)
        rows = encode_roles(lm, {"forget": data.forget}, run)
        with working_copy(lm, rows) as subject:
            mask = _Rows(salient(full_gradient(subject, rows, mean_nll("forget"), run, "saliency"), self.quantile))
        plugs = self.base.plugs(lm, data, run)
        if plugs.limit is not None:
            raise MethodError("the base method bounds its weights by itself", "choose another base")
        return train_by(self.base, lm, data, run, replace(plugs, limit=mask), identity=self)


def salient(gradient: Mapping[str, Tensor], quantile: float) -> dict[str, Tensor]:
    """For each tensor [R, …] the bool mask [R] of its rows whose gradient norm reaches the quantile of all rows."""
    norms = {name: g.reshape(g.shape[0], -1).norm(dim=1) for name, g in gradient.items()}
    every = torch.cat(list(norms.values()))
    threshold = every.kthvalue(min(int(quantile * len(every)) + 1, len(every))).values
    return {name: (own >= threshold) & (own > 0) for name, own in norms.items()}


class _Rows(Limit):
    """Rows outside the mask keep their values."""

    def __init__(self, masks: Mapping[str, Tensor]):
        self._masks = masks

    def gradients(self, grads: Mapping[str, Tensor]) -> None:
        """Zero outside the mask."""
        for name, grad in grads.items():
            grad[~self._masks[name]] = 0

    def weights(self, name: str, now: Tensor, before: Tensor, rate: float) -> None:
        """Weight decay moves what has no gradient, too."""
        outside = ~self._masks[name]
        now[outside] = before[outside].to(now)
