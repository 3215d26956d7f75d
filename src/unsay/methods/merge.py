r"""Merging: unlearn twice, once too much and once too little, and keep what the two agree on (TIES).

    θ = θ_0 + TIES_w( θ_1 − θ_0, θ_2 − θ_0 )      θ_i: result of method i
    TIES keeps the largest `density` of each change, elects a sign by summed mass, and averages what has that sign, each
    times its weight

Paper    Xu, Wang, Zhao et al. (2025). ZJUKLAB at SemEval-2025 Task 4: Unlearning via Model Merging.
         arXiv:2503.21088; TIES: Yadav, Tam, Choshen, Raffel, Bansal (2023). arXiv:2306.01708
Limits   Costs both trainings. What both do wrong stays; the authors still see answers that repeat themselves.
Differs  The paper's two systems are NPO + NLL + KL with w = (0.4, 0.4, 0.2) and (0.3, 0.3, 0.4) at batch sizes 1 and 2;
         any two methods here, by default NPO pushed hard and held loosely, and NPO pushed gently and held by the KL.
         With an adapter (model.adapter) its factors A and B are merged as peft does for the paper, otherwise the
         weights themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import PlanError
from ..models.ties import merge_adapters, merge_weights
from ..training.reference import adapter_is_fresh
from ._protocol import Method
from .npo import NPO

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Two methods from the same weights, merged by TIES."""

    over: Method = field(default_factory=lambda: NPO(forget_weight=2.0, retain_weight=0.5))
    """Forgets too much, such as ``{name: npo, forget_weight: 2}``."""
    under: Method = field(default_factory=lambda: NPO(forget_weight=0.5, retain="kl"))
    """Forgets too little."""
    density: float = 0.8
    """Share of each change that is kept, by magnitude."""
    weights: tuple[float, float] = (1.0, 1.0)
    """w of the two."""
    over_batch: int | None = None
    """Rows per step of the first method; None is train.batch. The paper has 1 × 4 and 2 × 4."""

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise PlanError(f"density: should be above 0 and at most 1, got {self.density!r}", "0.8 is the paper's")
        if min(self.weights) < 0 or not any(self.weights):
            raise PlanError(f"weights: should be at least 0, and not all 0, got {list(self.weights)}", "[1,1]")
        if self.over_batch is not None and self.over_batch < 1:
            raise PlanError(f"over_batch: should be at least 1, got {self.over_batch!r}")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Both methods from `lm`, then the merge; an adapter stays an adapter when it was new.

        Raises:
            MethodError: one of the methods left the adapter in another form.
        """
        train = run.train if self.over_batch is None else replace(run.train, batch=self.over_batch)
        one = self.over.unlearn(lm, data, run.sub("over", train=train))
        other = self.under.unlearn(lm, data, run.sub("under"))
        if adapter_is_fresh(lm.model):
            return merge_adapters([one, other], self.density, self.weights)
        return merge_weights(lm, [one, other], self.density, self.weights)
