"""BLUR: the forget term falls at its own rate, and the retain term has what is orthogonal to it.

    g = g_r + ( γ − <g_r, g_f> / ‖g_f‖² ) · g_f,      so that <g, g_f> = γ · ‖g_f‖²

Paper    Reisizadeh, Jia, et al. (2025). BLUR: A Bi-Level Optimization Approach for LLM Unlearning. arXiv:2506.08164
Limits   To first order the forget loss falls whatever that costs; two more gradients of memory.
Differs  —
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import PlanError
from ._combiner import Combiner, inner


@dataclass(frozen=True, kw_only=True)
class Blur(Combiner):
    """Project the retain gradient off the forget gradient, and add γ of the latter."""

    gamma: float = 1.0
    """γ, the rate at which the forget loss falls in units of its squared gradient."""
    apart = True
    needs_retain = True

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise PlanError(f"gamma: should not be negative, got {self.gamma!r}", "1 is the paper's")

    def merge(self, forget: Sequence[Tensor], retain: Sequence[Tensor]) -> None:
        """The equation above; g_r alone where the forget gradient is zero."""
        square = inner(forget, forget)
        if square == 0:
            return
        weight = self.gamma - inner(retain, forget) / square
        for into, other in zip(retain, forget, strict=True):
            into.add_(other, alpha=weight)
