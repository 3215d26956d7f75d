"""Perplexity ratio: stop when the text to keep has become less likely.

    stop when exp(nll_θ) > ratio · exp(nll_θ0)      nll over the answers of the rows watched

Paper    Dong, Lin, Belkin, Huerta, Vulić (2024). UNDIAL. arXiv:2402.10052 (validation perplexity, ratio 1.03)
Limits   The step that broke the bound has been taken; look more often for a tighter bound.
Differs  Watched are the utility rows where the data has some, and the retain rows otherwise (a fixed sample of them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..combiners._combiner import State, Watch
from ..errors import PlanError
from ._stop import Stop, Verdict


@dataclass(frozen=True, kw_only=True)
class Perplexity(Stop):
    """Bound the growth of perplexity."""

    ratio: float = 1.03
    """Largest allowed multiple of the perplexity before the first step."""
    epochs: float = 1.0
    """Epochs between looks."""

    def __post_init__(self) -> None:
        if self.ratio <= 0 or self.epochs <= 0:
            raise PlanError("ratio and epochs should be positive", "1.03 and 1 are the defaults")

    @property
    def every(self) -> float:
        """See `epochs`."""
        return self.epochs

    def start(self, watch: Watch) -> State:
        """Perplexity before the first step, as its logarithm."""
        return {"nll": watch.nll("utility")}

    def look(self, watch: Watch, state: State) -> Verdict:
        """Compare."""
        now = math.exp(watch.nll("utility") - state["nll"])
        reason = f"perplexity is {now:.3f} of what it was, more than {self.ratio:g}" if now > self.ratio else ""
        return Verdict(reason=reason, seen={"perplexity_ratio": now})
