"""Can the forget rows be told from unseen rows by their loss? (membership test, AUC)

Signal = mean log-probability of the answer's tokens; AUC of forget rows against holdout rows. ½ is chance; above ½ the
forget rows still look trained on, below ½ they look pushed away. Compare with the retrained model's AUC.

Paper: Yeom et al. 2018 (arXiv:1709.01604).
Differs: scored on the answer alone, given the prompt. The two-sided |AUC − ½| and the retrained AUC are in `extra`.

>>> import numpy as np
>>> from unsay.metrics.have import AnswerStats
>>> z = np.zeros(2)
>>> round(_mean_logp(AnswerStats(np.log([0.5, 0.125]), z, z, z)), 6) == round(float(np.log(0.25)), 6)
True
"""

from __future__ import annotations

from dataclasses import dataclass

from ._membership import membership_needs, membership_score
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score


@dataclass(frozen=True, kw_only=True)
class LossAttack:
    """AUC of the loss signal."""

    split: str = "forget"
    """The members."""
    others: str = "holdout"
    """The non-members: rows that no model was trained on."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Both splits on the subject; on the retrained model when there is one."""
        return membership_needs(self.split, self.others)

    def score(self, have: Measurements) -> Score:
        """AUC, clustered interval; `extra` has two_sided, retrained_auc and excess."""
        return membership_score(have, self.split, self.others, _mean_logp)


def _mean_logp(answer: AnswerStats) -> float:
    return -answer.mean_nll
