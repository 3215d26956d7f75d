r"""Direct token optimisation: ascend on the few tokens an answer hangs on, keep the distribution of all others.

    L = γ · ( −(1/|T|) · Σ_{t∈T} NLL_t ) + λ · (1/|N|) · Σ_{t∈N} KL( p_θ0 ‖ p_θ ),      both on the forget rows
    T: the tokens with the largest Δ-score (`tokens=delta`), N: the rest of the answers

Paper    Direct Token Optimization (2025). arXiv:2510.00125
Limits   No retain rows: what else is lost shows only in the evaluation. Short answers have few tokens to choose from.
Differs  k, the split into prefix and suffix, λ and the direction of the KL are not given in the paper; see
         tokens/delta.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from ..tokens._token_weights import TokenWeights
from ..tokens.delta import Delta
from ..training.objective import Objective
from ..training.reference import Uses
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class DTO(Objective):
    """Forget the target tokens; hold the others."""

    tokens: TokenWeights = field(default_factory=Delta)
    """Which tokens of the forget answers are targets (weights of 0 and 1)."""
    hold_weight: float = 1.0
    """λ."""
    retain: Literal["none", "nll", "kl", "hidden"] = "none"
    """What holds the retain rows."""

    compares: ClassVar[Uses] = True

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the targets."""
        return -step.forget.nll

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Ascent on T, KL on N."""
        held = step.forget.rest_mean(step.forget.token_kl)
        return {**super().loss(step), "held": self.hold_weight * held}
