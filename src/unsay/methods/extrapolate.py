r"""Extrapolation (UIPE): go further the way another method went, without a forward pass.

    θ' = θ0 + (1 + α)·(θu − θ0)      θu: result of the base method, differences in float32, weight by weight

Paper    Wang, Zhang, Ye, Ren, Ren, Chen (2025). UIPE: Enhancing LLM Unlearning by Removing Knowledge Related to
         Forgetting Targets. arXiv:2503.04693
Limits   Helps while θu − θ0 points along what the forget rows share with related facts; too large an α breaks the
         model.
Differs  The paper picks the epoch of the base run by forget quality and sets α by hand; here the base method's last
         weights are taken, and `alpha=auto` goes as far as the rows to keep and the holdout rows allow
         (training/coefficient.py), which may be less far than the base method went. α = 0 is the base method, α = −1
         the model before; with FineTune(on="forget") and α = −1 − s, task-vector negation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..errors import PlanError
from ..models.adapters import scale_adapter
from ..models.line import Line
from ..models.weights import extrapolate
from ..training.coefficient import farthest
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
    alpha: float | Literal["auto"] = 0.5
    """Amplification α; auto finds the largest within the bounds."""
    keep: float = 0.9
    """auto: share of the probability of the rows to keep that must be left, κ."""
    most: float = 4.0
    """auto: largest α."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1 or self.most <= -1:
            raise PlanError("keep should lie between 0 and 1, most above -1", "0.9 and 4 are the defaults")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Run the base method, then move on along its difference; a new LoRA adapter is scaled, which is the same."""
        after = self.base.unlearn(lm, data, run.sub("base"))
        scale = 1 + self.alpha if self.alpha != "auto" else self._search(lm, after, data, run)
        if adapter_is_fresh(lm.model):
            return scale_adapter(after, scale)
        return extrapolate(lm, after, scale)

    def _search(self, lm: LM, after: LM, data: ForgetData, run: Run) -> float:
        found = farthest(Line(lm, after), data, run, keep=self.keep, most=1 + self.most)
        for point in found.points:
            run.log(s=point.s, forget=point.forget, keep=point.keep)
        bound = "no holdout rows" if found.floor is None else f"holdout rows at {found.floor:.3f}"
        run.note(f"alpha is {found.chosen - 1:.3f}, found with {len(found.points)} looks at the line ({bound})")
        return found.chosen
