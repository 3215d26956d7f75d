r"""Adaptive RMU: steer each token as far as its own representation is long.

    L = γ · E[ (1/D) · ‖h_l(θ) − β·‖h_l(θ0)‖·u‖² ]_forget + α · E[ (1/D) · ‖h_l(θ) − h_l(θ0)‖² ]_retain

Paper    Huu-Tien, Pham, Thanh-Tung, Inoue (2024). On Effects of Steering Latent Representation for Large Language Model
         Unlearning. arXiv:2408.06223
Limits   As RMU.
Differs  As RMU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..training.reference import Uses
from ..training.step import View
from ._steering import Steering


@dataclass(frozen=True, kw_only=True)
class AdaptiveRMU(Steering):
    """RMU whose coefficient follows the size of the layer's output."""

    beta: float = 5.0
    """β."""

    compares: ClassVar[Uses] = True

    def length(self, view: View) -> Tensor:
        """[B, T, 1]"""
        return self.beta * view.ref.hidden(self.layer).float().norm(dim=-1, keepdim=True)
