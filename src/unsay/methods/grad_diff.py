r"""Gradient difference: up on the forget rows, down on the retain rows.

    L = −γ · nll_forget + α · nll_retain      each a mean over the answer tokens of its rows

Paper    Liu, Liu, Stone (2022). Continual Learning and Private Unlearning. arXiv:2203.12817; in this form Maini, Feng,
         Schwarzschild, Lipton, Kolter (2024). TOFU. arXiv:2401.06121
Limits   The forget term is unbounded and outgrows the retain term sooner or later.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class GradDiff(Objective):
    """Gradient ascent with a retain term."""

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the forget answers."""
        return -step.forget.nll
