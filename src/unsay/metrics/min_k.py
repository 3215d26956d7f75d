"""Can the forget rows be told from unseen rows by their least likely tokens? (membership test, AUC)

Signal = mean of the lowest `k` share of the answer's token log-probabilities (at least one token). AUC of forget rows
against holdout rows; ½ is chance.

Paper: Min-K% Prob, Shi et al. 2023 (arXiv:2310.16789).
Differs: answer alone, given the prompt. The paper uses k = 0.2, the default here; open-unlearning uses 0.4.

The lower half of four log-probabilities −4, −1, −2, −3:

>>> import numpy as np
>>> lowest_mean(np.array([-4.0, -1.0, -2.0, -3.0]), 0.5)
-3.5
>>> lowest_mean(np.array([-1.0]), 0.2)
-1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._membership import membership_needs, membership_score
from ._shared import Reals, check_share
from .have import Measurements
from .needs import TokenStats
from .score import Score


@dataclass(frozen=True, kw_only=True)
class MinK:
    """AUC of the Min-K% signal."""

    split: str = "forget"
    """The members."""
    others: str = "holdout"
    """The non-members: rows that no model was trained on."""
    k: float = 0.2
    """Share of the tokens that count."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        check_share("k", self.k)

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Both splits on the subject; on the retrained model when there is one."""
        return membership_needs(self.split, self.others)

    def score(self, have: Measurements) -> Score:
        """AUC, clustered interval; `extra` has two_sided, retrained_auc and excess."""
        return membership_score(have, self.split, self.others, lambda a: lowest_mean(a.logp, self.k))


def lowest_mean(values: Reals, k: float) -> float:
    """Mean of the lowest ⌊k·T⌋ of [T] values, at least one."""
    count = max(1, int(k * len(values)))
    return float(np.mean(np.partition(values, count - 1)[:count], dtype=np.float64))
