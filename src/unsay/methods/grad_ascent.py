r"""Gradient ascent: step against the likelihood of the forget answers.

    L = −nll_forget = E_t[ log p_θ(y_t | x, y_<t) ]      mean over the answer tokens t of the batch

Paper    Jang, Yoon, Yang, Cha, Lee, Logeswaran, Seo (2023). Knowledge Unlearning for Mitigating Privacy Risks in
         Language Models. arXiv:2210.01504
Limits   Unbounded below: nothing but the number of steps keeps the model whole.
Differs  The loss is taken on answers, not on whole sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class GradAscent(Objective):
    """Maximise the loss on the forget rows; nothing else."""

    retain: Literal["none", "nll", "kl", "hidden"] = "none"
    """What holds the retain rows."""

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the forget answers."""
        return -step.forget.nll
