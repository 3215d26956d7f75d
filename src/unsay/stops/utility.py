"""Utility floor: stop when the answers to keep have lost a share of their probability.

    stop when p_θ < floor · p_θ0      p = exp(−nll) over the answers of the rows watched

Paper    The rule by which checkpoints are chosen in Wang et al. (2025). UIPE. arXiv:2503.04693, applied while training
Limits   The step that broke the floor has been taken; look more often for a tighter one.
Differs  Probability per token of the watched rows stands for model utility, which would need generation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..combiners._combiner import State, Watch
from ..errors import PlanError
from ._stop import Stop, Verdict


@dataclass(frozen=True, kw_only=True)
class Utility(Stop):
    """Keep the probability of the answers to keep above a floor."""

    floor: float = 0.9
    """Smallest allowed share of the probability before the first step."""
    epochs: float = 1.0
    """Epochs between looks."""

    def __post_init__(self) -> None:
        if not self.floor > 0 or self.epochs <= 0:
            raise PlanError("floor and epochs should be positive", "0.9 and 1 are the defaults")

    @property
    def every(self) -> float:
        """See `epochs`."""
        return self.epochs

    def start(self, watch: Watch) -> State:
        """NLL before the first step."""
        return {"nll": watch.nll("utility")}

    def look(self, watch: Watch, state: State) -> Verdict:
        """Compare."""
        now = math.exp(state["nll"] - watch.nll("utility"))
        broken = f"the rows watched keep {now:.3f} of their probability, less than {self.floor:g}"
        return Verdict(reason=broken if now < self.floor else "", seen={"utility_share": now})
