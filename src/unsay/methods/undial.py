r"""UNDIAL: distil the model into itself with the logit of the true token lowered.

    L_forget = E_t[ −Σ_v q_v · log p_θ(v | x, y_<t) ]_forget,      q = softmax( z_θ0 − β · onehot(y_t) )

Paper    Dong, Lin, Belkin, Huerta, Vulić (2024). UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning
         in Large Language Models. arXiv:2402.10052
Limits   Bounded: it ends where the next best token takes the true one's place, which need not be an unrelated one.
Differs  Answer tokens only. open-unlearning looks up label −100 at prompt and padding positions too, which lowers the
         logit of token V − 100 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..training.objective import Objective
from ..training.reference import Uses
from ..training.row_loss import cross_entropy_to
from ..training.step import Step


@dataclass(frozen=True, kw_only=True)
class UNDIAL(Objective):
    """Cross-entropy to the frozen model's own distribution without the answer."""

    beta: float = 10.0
    """How far the true token's logit is lowered, β; the paper tries 3 to 30."""
    retain: Literal["none", "nll", "kl", "hidden"] = "none"
    """What holds the retain rows."""

    compares: ClassVar[Uses] = True

    def forget_term(self, step: Step) -> Tensor:
        """Distillation at the answer tokens."""
        view = step.forget

        def adjusted(logits: Tensor, rows: slice) -> Tensor:
            index = view.targets[rows, None]
            z = view.ref_logits(rows)
            return torch.softmax(z.scatter_add(1, index, z.new_full(index.shape, -self.beta)), -1)

        return view.token_mean(view.token_values(cross_entropy_to(adjusted)))
