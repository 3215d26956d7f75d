r"""LoRA subtraction: train an adapter on what is to be forgotten, and subtract it from the weights.

    W' = W − s·c·B·A      A, B: adapter trained on the forget rows with W frozen, c = alpha / rank

Paper    Zhang, Chen, Liu, He (2023). Composing Parameter-Efficient Modules with Arithmetic Operations.
         arXiv:2306.14870 (negation)
Limits   As task vectors; the change has rank r, and nothing holds the retain rows.
Differs  The paper negates an adapter that learned a behaviour from data made to show it (toxic text); here from the
         forget rows, of which a model that knows them learns little more: hence s = 2, not 1. An adapter that has been
         trained before is merged first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config.plan import Adapter
from ..models.adapters import attach, merged, scale_adapter
from ..naming import derive_seed
from ..training.reference import adapter_is_fresh
from .fine_tune import FineTune

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class LoraSubtraction:
    """Train LoRA on the forget rows and subtract it."""

    scale: float = 2.0
    """s."""
    adapter: Adapter = field(default_factory=Adapter)
    """The adapter to train; not read when the model brings a new one (``model.adapter``). Its `merge` is not read."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Train, negate; plain weights when `lm` brings no new adapter, else the negated adapter."""
        fresh = adapter_is_fresh(lm.model)
        start = lm if fresh else attach(merged(lm), self.adapter, derive_seed(run.seed, "lora-subtraction"))
        tuned = FineTune(on="forget").unlearn(start, data, run.sub("adapter"))
        negated = scale_adapter(tuned, -self.scale)
        return negated if fresh else merged(negated)
