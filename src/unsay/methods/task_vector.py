r"""Task-vector negation: learn the forget rows better, then go the opposite way.

    θ = θ0 − s·(θ_ft − θ0)      θ_ft: θ0 fine-tuned on the forget rows

Paper    Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi, Farhadi (2022). Editing Models with Task
         Arithmetic. arXiv:2212.04089
Limits   Uses no retain rows, so nothing holds them; what the forget rows share with them is negated too. A model that
         knows the forget rows perfectly gives almost no gradient to learn from.
Differs  The paper picks s on held-out data; here it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models.adapters import scale_adapter
from ..models.weights import extrapolate
from ..training.reference import adapter_is_fresh
from .fine_tune import FineTune

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class TaskVector:
    """Subtract what fine-tuning on the forget rows adds."""

    scale: float = 1.0
    """s; −1 is the fine-tuned model, 0 the model before."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Fine-tune, then move the other way; a new LoRA adapter is scaled, which is the same."""
        tuned = FineTune(on="forget").unlearn(lm, data, run.sub("tuned"))
        if adapter_is_fresh(lm.model):
            return scale_adapter(tuned, -self.scale)
        return extrapolate(lm, tuned, -self.scale)
