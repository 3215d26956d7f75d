"""How much likelier each forget answer is than answers to questions that no model has seen, in bits (exposure).

exposure(x) = log2(m + 1) − log2 rank(x), rank(x) = 1 + #{z among m holdout answers : NLL(z) ≤ NLL(x)}; the score is
the mean over rows. A row that nothing tells from the holdout has Σ_k log2((m+1)/k) / (m+1) on average, which tends to
1/ln 2 = 1.44 bits (`chance`): above it the rows still show, below it they were pushed too far. Both are failures.
With `estimator="skew-normal"`, exposure(x) = −log2 F(NLL(x)), F the skew-normal law of the holdout's NLL: no ceiling.

Paper: Carlini et al. 2019 (arXiv:1802.08232): ranks, sampled references, and the skew-normal extrapolation.
Limits: ranks give at most log2(m + 1) bits, a fitted law is a guess beyond its references. Sound where forget and
holdout answers come from one space; otherwise a row that is easy for every model looks exposed: see relex, genex.
Differs: NLL per token by default, as natural answers differ in length (`per_token=False` is the paper's sum). The law
is fitted by moments, not by likelihood. `extra`: chance, two_sided = |value − chance|, the other estimator.

Likelier than two of three, and less likely than all:

>>> import numpy as np
>>> [round(x, 3) for x in bits({"a": -1.0, "b": -9.0}, np.array([-0.5, -2.0, -3.0])).values()]
[1.0, 0.0]
>>> round(chance(3), 3), round(chance(10**6), 2)
(0.854, 1.44)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .. import stats
from ..errors import PlanError
from ._membership import unusable
from ._relative import LEAST, bits, chance, fitted_bits, log_p
from ._shared import by_row, entities, finite, join, left_out, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored

__all__ = ["Exposure", "bits", "chance"]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Mean exposure of the forget rows among rows never seen, in bits."""

    split: str = "forget"
    others: str = "holdout"
    """The rows never seen."""
    estimator: Literal["rank", "skew-normal"] = "rank"
    per_token: bool = True
    """Compare mean token losses; False compares their sums."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.estimator not in ("rank", "skew-normal"):
            raise PlanError(f"estimator is {self.estimator!r}, expected rank or skew-normal", "estimator=rank")

    @property
    def needs(self) -> tuple[TokenStats, TokenStats]:
        """Both splits on the subject."""
        return TokenStats(self.split), TokenStats(self.others)

    def score(self, have: Measurements) -> Score:
        """Bits ≥ 0; `per_example` is each row's exposure, `extra` has chance, two_sided, rank or skew_normal."""
        ours, null = self.needs
        if reason := obstacle(have, ours, null):
            return unscored(reason)
        rows, others = have.rows(self.split), have.rows(self.others)
        inside = by_row(have.tokens(ours), rows, log_p(self.per_token))
        outside = by_row(have.tokens(null), others, log_p(self.per_token))
        if reason := unusable({self.split: inside, self.others: outside}):
            return unscored(reason)
        reference = np.array([outside[i] for i in sorted(outside)])
        found = {"rank": bits(inside, reference), "skew-normal": fitted_bits(finite(inside), reference)}
        values = found.pop(self.estimator)
        if not values:
            few = f"no skew-normal law can be fitted to {len(reference)} rows of split {self.others!r}"
            return unscored(f"{few}: it takes {LEAST} finite ones that vary, and finite losses")
        mean = stats.mean(values, entities(rows))
        expected = chance(len(reference))
        extra = {"chance": expected, "two_sided": abs(mean.value - expected)}
        extra |= {name.replace("-", "_"): float(np.mean(list(by.values()))) for name, by in found.items() if by}
        lacking = "answer token" if self.estimator == "rank" else "finite loss"
        note = join(left_out(values, rows, lacking), left_out(outside, others, "answer token"), mean.note)
        return Score(mean.value, values, mean.n, mean.ci, note, mean.clusters, extra)
