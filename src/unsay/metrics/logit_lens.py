"""Does any layer still hold the answer, even if the last one no longer says it?

Each layer's hidden state at the last position of the prompt goes through the final norm and the head; the score is the
mean over rows of the highest probability that a layer so read gives to the answer's first token.

Paper: logit lens, nostalgebraist 2020; as a test of unlearning: Patil et al. 2023 (arXiv:2309.17410).
Limits: early layers are not trained to be read like this, so a low value proves nothing; a first token that many
answers share ("The") is known without the fact: compare with the retrained model. One layer of many is taken, so the
value is above the last layer's even by chance.
Differs: the probability instead of a rank threshold; `extra` has last (the last layer's mean probability), residual =
value − last, top1 (share of rows in which some layer's likeliest token is the right one) and best_rank (the median over
rows of the best rank).

Three layers give the token ¼, ½ and ⅛:

>>> import numpy as np
>>> from unsay.metrics.have import LayerStats
>>> round(_highest(LayerStats(np.log([0.25, 0.5, 0.125]), np.array([1, 0, 3]))), 6)
0.5
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._shared import broken, mean_score, obstacle
from .have import LayerStats, Measurements
from .needs import Lens
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class LogitLens:
    """Mean over rows of the highest probability of the answer's first token at any layer."""

    split: str = "forget"
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[Lens, ...]:
        """The layers' readings."""
        return (Lens(self.split),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has last, residual, top1 and best_rank."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        found = {row.id: [s for s in have.layers(self.needs[0]).get(row.id, ()) if len(s.logp)] for row in rows}

        def mean(of: Callable[[LayerStats], float]) -> dict[str, float]:
            return {i: sum(map(of, given)) / len(given) for i, given in found.items() if given}

        values, last = mean(_highest), mean(lambda s: float(np.exp(s.logp[-1])))
        lacking = "layer that can be read: the network does not show its final norm"
        if not values or broken(values):
            return mean_score(values, rows, lacking=lacking)
        ranks = list(mean(lambda s: float(np.min(s.rank))).values())
        ending = sum(last.values()) / len(last)
        extra = {
            "last": ending,
            "residual": sum(values.values()) / len(values) - ending,
            "top1": sum(rank == 0 for rank in ranks) / len(ranks),
            "best_rank": float(np.median(ranks)),
        }
        return mean_score(values, rows, lacking=lacking, extra=extra)


def _highest(layers: LayerStats) -> float:
    """NaN where a layer is: no comparison with NaN is true, and ranks of a broken model are all 0."""
    return float(np.exp(np.max(layers.logp.astype(np.float64))))
