r"""Extrapolation (UIPE): go further the way another method went, without a forward pass.

    θ' = θ0 + (1 + α)·(θu − θ0)      θu: result of the base method, differences in float32, weight by weight

Paper    Wang, Zhang, Ye, Ren, Ren, Chen (2025). UIPE: Enhancing LLM Unlearning by Removing Knowledge Related to
         Forgetting Targets. arXiv:2503.04693
Limits   Helps while θu − θ0 points along what the forget rows share with related facts; too large an α breaks the
         model.
Differs  The paper sets α by hand and picks the base epoch by forget quality against a retrained model. Here
         `alpha=auto` goes as far as the rows to keep and the holdout rows allow (training/coefficient.py), which may be
         less far than the base method went, and `epoch=best` judges an epoch without a retrained model: by how near
         ln p(forget) comes to ln p(holdout) before (without holdout rows: by how low it is), while p(keep) stays above
         κ of before, p the mean probability of answers; the rule is the paper's (selection.py). What both bound is
         p(keep), so that nothing need be generated, and not model utility as in the paper: at most 64 rows, the data's
         utility rows or, where it has none, retain rows, which the base method may train on. Without holdout rows
         `auto` is bounded on that side alone. α = 0 is the base method, α = −1 the model before; with
         FineTune(on="forget") and α = −1 − s, task-vector negation. `only` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Literal

from ..errors import PlanError
from ..models.adapters import scale_adapter
from ..models.line import Line
from ..models.weights import patched_alike
from ..training.coefficient import farthest
from ..training.epochs import best_epoch
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
    epoch: Literal["last", "best"] = "last"
    """Where to extrapolate from: the base method's last weights, or the epoch that the paper's rule prefers."""
    only: tuple[str, ...] = ()
    """Patterns of the parameters that go further, such as ``*.mlp.*``; the others stay where the base method left
    them. Below α = 0 all parameters step back, these and the others. Empty is all."""
    keep: float = 0.9
    """auto and best: share of the probability of the rows to keep (utility or retain rows) that must be left, κ."""
    most: float = 4.0
    """auto: largest α."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1 or self.most <= -1:
            raise PlanError("keep should lie between 0 and 1, most above -1", "0.9 and 4 are the defaults")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Run the base method, then move on along its difference; a new LoRA adapter is scaled, which is the same.

        Raises:
            MethodError: auto or best without rows to keep, best with a base method that does not train by epochs, or
                even the smallest step breaks a bound.
            ModelError: the base method patches the model, or `only` names no parameter.
        """
        if self.epoch == "best":
            after = best_epoch(self.base, lm, data, run.sub("base"), self.keep)
        else:
            after = self.base.unlearn(lm, data, run.sub("base"))
        patched_alike(lm, after)
        adapter = adapter_is_fresh(lm.model) and not self.only
        if self.alpha != "auto" and adapter:
            return scale_adapter(after, 1 + self.alpha)
        further = (lambda name: any(fnmatch(name, pattern) for pattern in self.only)) if self.only else None
        line = Line(lm, after, further)
        scale = 1 + self.alpha if self.alpha != "auto" else self._search(line, data, run)
        return scale_adapter(after, scale) if adapter else line.at(scale)

    def _search(self, line: Line, data: ForgetData, run: Run) -> float:
        found = farthest(line, data, run, keep=self.keep, most=1 + self.most)
        for point in found.points:
            run.log(s=point.s, forget=point.forget, keep=point.keep)
        floor = "no holdout rows" if found.floor is None else f"holdout rows at {found.floor:.3f}"
        kept = "utility rows" if data.utility else "retain rows, not of utility"
        bounds = f"{self.keep:.0%} of the probability of the {kept}; {floor}"
        run.note(f"alpha is {found.chosen - 1:.3f}, found with {found.looks} looks at the line ({bounds})")
        return found.chosen
