r"""KL minimisation: gradient ascent while the retain answers keep the distribution they had.

    L = −γ · nll_forget + α · E_t[ KL( p_θ0(·|x, y_<t) ‖ p_θ(·|x, y_<t) ) ]_retain      t over answer tokens

Paper    Maini, Feng, Schwarzschild, Lipton, Kolter (2024). TOFU: A Task of Fictitious Unlearning for LLMs.
         arXiv:2401.06121; after Chen, Yang (2023). Unlearn What You Want to Forget. arXiv:2310.20150
Limits   As gradient ascent; needs the frozen model's full distributions, so its log-probabilities cannot be cached.
Differs  The KL is a mean over answer tokens only: over prompt and padding too, it would shrink with the padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..training.objective import Objective
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class KLMin(Objective):
    """Gradient ascent with KL to the frozen model on the retain rows."""

    retain: Literal["none", "nll", "kl", "hidden"] = "kl"
    """What holds the retain rows."""

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the forget answers."""
        return -step.forget.nll
