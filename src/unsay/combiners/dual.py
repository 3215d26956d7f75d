"""A retain loss held under a bound: its weight grows while the bound is broken.

    g = g_f + λ · g_r,      λ ← max( 0, λ + η · (L_retain − ε) ) after every step,      ε = slack · L_retain(θ0)

Paper    Entesari, Hatami, Khaziev, Ramakrishna, Fazlyab (2025). Constrained Entropic Unlearning: A Primal-Dual
         Framework for Large Language Models (PDU). arXiv:2506.05314
Limits   λ takes steps to grow: the bound may be broken for a while, and is no promise about the end.
Differs  ε is taken from the retain loss before the first step instead of being given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import PlanError
from ._combiner import Combiner, State, Watch


@dataclass(frozen=True, kw_only=True)
class Dual(Combiner):
    """Weigh the retain term by a dual variable."""

    slack: float = 1.1
    """ε as a multiple of the retain loss before the first step."""
    rate: float = 1.0
    """η."""
    first: float = 1.0
    """λ before the first update."""
    warmup: float = 0.0
    """Epochs without an update; the paper's is 5 of 10."""
    needs_retain = True
    watches = True

    def __post_init__(self) -> None:
        if self.slack <= 0 or self.rate < 0 or self.first < 0:
            raise PlanError("slack should be positive, rate and first not negative", "1.1, 1 and 1 are the defaults")

    def start(self, watch: Watch) -> State:
        """ε from the model before training."""
        return {"bound": self.slack * watch.nll("retain"), "weight": self.first}

    def factors(self, step: int, steps: int, state: State) -> tuple[float, float]:
        """λ on the retain term."""
        return 1.0, state["weight"]

    def update(self, terms: Mapping[str, float], epoch: float, state: State) -> State:
        """One step of dual ascent."""
        if epoch <= self.warmup or "retain" not in terms:
            return state
        return {**state, "weight": max(0.0, state["weight"] + self.rate * (terms["retain"] - state["bound"]))}
