r"""CE-U: cross-entropy to the model's own distribution with the true token struck out.

    L_forget = E_{t>n}[ −Σ_v q_v · log p_θ(v | x, y_<t) ]_forget,      q = softmax( z_θ with z_{y_t} = −∞ ), detached

Paper    Yang (2025). CE-U: Cross Entropy Unlearning. arXiv:2503.01224
Limits   The target moves with the model: what takes the answer's place is whatever came second.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..tokens._token_weights import TokenWeights
from ..tokens.skip_first import SkipFirst
from ..training.objective import Objective
from ..training.row_loss import cross_entropy_to
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class CEU(Objective):
    """Follow the distribution without the answer; no reference model."""

    retain: Literal["none", "nll", "kl", "hidden"] = "none"
    """What holds the retain rows."""
    tokens: TokenWeights = field(default_factory=SkipFirst)
    """Which tokens of the forget answers count; the first does not."""

    def forget_term(self, step: Step) -> Tensor:
        """Cross-entropy at the answer tokens."""
        view = step.forget

        def without(logits: Tensor, rows: slice) -> Tensor:
            return torch.softmax(logits.scatter(1, view.targets[rows, None], -torch.inf), -1)

        return view.token_mean(view.token_values(cross_entropy_to(without)))
