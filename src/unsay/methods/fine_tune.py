r"""Fine-tuning: ordinary supervised training on some of the rows.

    L = nll = −E_t[ log p_θ(y_t | x, y_<t) ]      mean over the answer tokens of the batch

Paper    On the retain rows, as an unlearning baseline: Golatkar, Achille, Soatto (2020). Eternal Sunshine of the
         Spotless Net. arXiv:1911.04933 ("finetune"). On the forget rows it is relearning.
Limits   On retain rows it relies on the model forgetting by itself, which large models hardly do.
Differs  —
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ..data.example import Example, ForgetData
from ..training.gradient import GradientMethod
from ..training.step import Step

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class FineTune(GradientMethod):
    """Minimise the loss on the retain rows, the forget rows, or both."""

    on: Literal["retain", "forget", "all"] = "retain"
    """Rows to train on; an epoch is one pass over them."""

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """One role, ``train``."""
        chosen = {"retain": data.retain, "forget": data.forget, "all": [*data.forget, *data.retain]}
        return {"train": chosen[self.on]}

    def loss(self, step: Step) -> Tensor:
        """NLL of the answers."""
        return step.train.nll
