r"""Extrapolation (UIPE): go further the way another method went, without a forward pass.

    θ' = θ0 + (1 + α)·(θu − θ0)      θu: result of the base method, differences in float32, weight by weight

Paper    Wang, Zhang, Ye, Ren, Ren, Chen (2025). UIPE: Enhancing LLM Unlearning by Removing Knowledge Related to
         Forgetting Targets. arXiv:2503.04693
Limits   Helps while θu − θ0 points along what the forget rows share with related facts; too large an α breaks the
         model.
Differs  The paper picks the epoch of the base run by forget quality; here the base method's last weights are taken.
         α = 0 is the base method, α = −1 the model before; with FineTune(on="forget") and α = −1 − s, task-vector
         negation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..models.adapters import scale_adapter
from ..models.weights import extrapolate
from ..training.reference import adapter_is_fresh
from ._protocol import Method
from .npo import NPO

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Extrapolate:
    """Amplify what another method did to the weights."""

    base: Method = field(default_factory=NPO)
    """The method to extrapolate, such as ``{name: grad-diff}``."""
    alpha: float = 0.5
    """Amplification α."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Run the base method, then move on along its difference; a new LoRA adapter is scaled, which is the same."""
        after = self.base.unlearn(lm, data, run.sub("base"))
        if adapter_is_fresh(lm.model):
            return scale_adapter(after, 1 + self.alpha)
        return extrapolate(lm, after, 1 + self.alpha)
