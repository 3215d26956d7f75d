r"""Sparse delta: whatever another method does, as few weights as possible may differ from before.

    after every step:  v = θ − θ0,      θ ← θ0 + sign(v) · max( |v| − η·strength, 0 )
    which is the proximal step of η · strength · ‖v‖₁

Paper    Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu (2023). Model Sparsity Can Simplify Machine Unlearning.
         arXiv:2304.04934 (ℓ1 on the weights)
Limits   A small patch is not a small change of behaviour.
Differs  The ℓ1 norm is that of the change, not of the weights: a language model cannot be made sparse afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import MethodError, PlanError
from ..training.gradient import GradientMethod, train_by
from ..training.plugs import Limit
from ._protocol import Method
from .npo import NPO

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class SparseDelta:
    """Soft-threshold the change of every weight after every step."""

    base: Method = field(default_factory=NPO)
    """The gradient method to make sparse."""
    strength: float = 0.3
    """How far a weight is pulled back in a step, in learning rates; a step of Adam moves it by at most about one."""

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise PlanError(f"strength: should not be negative, got {self.strength!r}", "0.3")
        if not isinstance(self.base, GradientMethod):
            raise PlanError("base: only a method that takes gradient steps can be made sparse", "base=npo")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """The base method with the proximal step; the share of weights that differ is logged as ``changed``."""
        assert isinstance(self.base, GradientMethod)
        plugs = self.base.plugs(lm, data, run)
        if plugs.limit is not None:
            raise MethodError("the base method bounds its weights by itself", "choose another base")
        sparse = replace(plugs, limit=_Threshold(self.strength))
        after = train_by(self.base, lm, data, run, sparse, identity=self)
        old = dict(lm.model.named_parameters())
        trained = {name: p for name, p in after.model.named_parameters() if p.requires_grad}
        differ = sum(int((p != old[name]).sum()) for name, p in trained.items())
        run.log(changed=differ / sum(p.numel() for p in trained.values()))
        return after


class _Threshold(Limit):
    def __init__(self, strength: float):
        self._strength = strength

    def weights(self, name: str, now: Tensor, before: Tensor, rate: float) -> None:
        """The proximal step; a weight that falls back gets its very old value."""
        start = before.to(now)
        change = now - start
        size = change.abs() - rate * self._strength
        now.copy_((start + change.sign() * size).where(size > 0, start))
