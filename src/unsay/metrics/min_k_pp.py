"""Can the forget rows be told from unseen rows by tokens that are unlikely for their place? (membership test, AUC)

Signal: z_t = (log p_t − μ_t) / σ_t, with μ_t and σ_t the mean and standard deviation of log p under the model's own
distribution at t; mean of the lowest `k` share of z. AUC of forget rows against holdout rows; ½ is chance.

Paper: Min-K%++, Zhang et al. 2024 (arXiv:2404.02936).
Differs: answer alone, given the prompt. σ is held above 1e-4, which only a model sure to eleven digits falls below. k =
0.2 by default; open-unlearning uses 0.4.

Log-probabilities −1 and −4 where the model expected −2 ± 1 and −2 ± 2 have z = 1 and −1:

>>> import numpy as np
>>> z_scores(np.array([-1.0, -4.0]), np.array([-2.0, -2.0]), np.array([1.0, 2.0]))
array([ 1., -1.])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._membership import membership_needs, membership_score
from ._shared import Reals, check_share
from .have import AnswerStats, Measurements
from .min_k import lowest_mean
from .needs import TokenStats
from .score import Score

_LEAST_STD = 1e-4


@dataclass(frozen=True, kw_only=True)
class MinKPp:
    """AUC of the Min-K%++ signal."""

    split: str = "forget"
    """The members."""
    others: str = "holdout"
    """The non-members: rows that no model was trained on."""
    k: float = 0.2
    """Share of the tokens that count."""
    label: str = "min-k-pp"
    """Name in tables."""

    def __post_init__(self) -> None:
        check_share("k", self.k)

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Both splits on the subject; on the retrained model when there is one."""
        return membership_needs(self.split, self.others)

    def score(self, have: Measurements) -> Score:
        """AUC, clustered interval; `extra` has two_sided, retrained_auc and excess."""
        return membership_score(have, self.split, self.others, self._signal)

    def _signal(self, answer: AnswerStats) -> float:
        return lowest_mean(z_scores(answer.logp, answer.vocab_mean, answer.vocab_std), self.k)


def z_scores(logp: Reals, mean: Reals, std: Reals) -> Reals:
    """[T] log-probabilities in standard deviations from what the model expected."""
    with np.errstate(invalid="ignore"):
        return (np.asarray(logp, dtype=np.float64) - mean) / np.maximum(np.asarray(std, dtype=np.float64), _LEAST_STD)
