"""Can the forget rows be told from unseen rows by loss per compressed byte? (membership test, AUC)

Signal = −(summed token loss) / (bytes of the zlib-compressed answer): text that is likely although it does not compress
well was probably seen. AUC of forget rows against holdout rows; ½ is chance.

Paper: Carlini et al. 2021 (arXiv:2012.07805), section 4.2.
Differs: answer alone, given the prompt. open-unlearning divides the mean loss; this is the paper's ratio with the sum.

Eight identical letters compress to 11 bytes:

>>> import zlib
>>> len(zlib.compress(b"aaaaaaaa"))
11
>>> _per_byte(-22.0, "aaaaaaaa")
-2.0
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ._membership import membership_needs, membership_score
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score


@dataclass(frozen=True, kw_only=True)
class ZlibRatio:
    """AUC of the zlib signal."""

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
        return membership_score(have, self.split, self.others, _signal)


def _signal(answer: AnswerStats) -> float:
    return _per_byte(float(np.sum(answer.logp, dtype=np.float64)), answer.text)


def _per_byte(logp: float, text: str) -> float:
    return logp / len(zlib.compress(text.encode("utf-8", "surrogatepass")))
