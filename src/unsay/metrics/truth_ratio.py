"""How much likelier wrong answers are than a right one: near 1 when the model cannot tell them apart.

R = (geometric mean of p over the perturbed answers) / p(paraphrased answer) = exp(l(paraphrased) − mean l(perturbed)),
l being the mean token loss. aggregate="forget": mean of min(R, 1/R); "utility": mean of max(0, 1 − R); "share": mean of
1 / (1 + R), that is p_right / (p_right + p_wrong). Where a row has no paraphrased answer, the answer itself stands in,
as TOFU does for real authors and world facts.

Paper: TOFU (arXiv:2401.06121), section 2.2.1; "share" is open-unlearning's (arXiv:2506.12618).
Differs: the paper writes an arithmetic mean over the perturbed answers; this is the published code's geometric mean.

Perturbed answers with losses 2 and 4, a paraphrase with loss 2: R = exp(2 − 3):

>>> import numpy as np
>>> ratio = log_ratio(np.array([2.0]), np.array([2.0, 4.0]))
>>> ratio, round(aggregated(ratio, "forget"), 4), round(aggregated(ratio, "utility"), 4)
(-1.0, 0.3679, 0.6321)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from ._shared import Floats, losses, mean_score, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored

Aggregate = Literal["forget", "utility", "share"]


@dataclass(frozen=True, kw_only=True)
class TruthRatio:
    """Mean over rows of a function of the truth ratio R."""

    split: str = "forget"
    aggregate: Aggregate = "forget"
    """``forget``: min(R, 1/R); ``utility``: max(0, 1 − R); ``share``: 1 / (1 + R)."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Perturbed, paraphrased and plain answers."""
        return ratio_needs(self.split)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows with perturbed answers, in [0, 1]."""
        if reason := ratio_obstacle(have, self.split):
            return unscored(reason)
        rows = have.rows(self.split)
        found, stand_ins = log_ratios(have, self.split)
        values = {i: aggregated(x, self.aggregate) for i, x in found.items()}
        note = f"the answer stands in for a paraphrase in {stand_ins} of {len(found)} rows" if stand_ins else ""
        return mean_score(values, rows, lacking="perturbed answers", note=note)


def ratio_needs(split: str, model: str = "subject") -> tuple[TokenStats, TokenStats, TokenStats]:
    """What R of a split's rows is made of: perturbed, plain and paraphrased answers."""
    return (
        TokenStats(split, answer="perturbed", model=model),
        TokenStats(split, model=model),
        TokenStats(split, answer="paraphrased", model=model),
    )


def ratio_obstacle(have: Measurements, split: str, model: str = "subject") -> str:
    """Why R cannot be computed. Missing paraphrases alone are no obstacle: the answer stands in."""
    perturbed, plain, _ = ratio_needs(split, model)
    return obstacle(have, perturbed, plain)


def log_ratios(have: Measurements, split: str, model: str = "subject") -> tuple[dict[str, float], int]:
    """Log R by id for the rows that have perturbed answers, and in how many the answer stood in for a paraphrase."""
    need_wrong, need_plain, need_paraphrased = ratio_needs(split, model)
    wrong, plain = have.tokens(need_wrong), have.tokens(need_plain)
    paraphrased = {} if have.why_missing(need_paraphrased) else have.tokens(need_paraphrased)
    found: dict[str, float] = {}
    stand_ins = set()
    for row in have.rows(split):
        others, right = losses(wrong.get(row.id, ())), losses(paraphrased.get(row.id, ()))
        if not len(right):
            right = losses(plain.get(row.id, ()))
            stand_ins.add(row.id)
        if len(others) and len(right):
            found[row.id] = log_ratio(right, others)
    return found, len(stand_ins & found.keys())


def log_ratio(right: Floats, wrong: Floats) -> float:
    """Log R = mean loss of the right answers − mean loss of the wrong ones, nats; NaN when both are infinite."""
    with np.errstate(invalid="ignore"):
        return float(np.mean(right) - np.mean(wrong))


def aggregated(log_ratio: float, aggregate: Aggregate) -> float:
    """One row's contribution, in [0, 1]."""
    if aggregate == "forget":
        return float(np.exp(-abs(log_ratio)))
    if aggregate == "share":
        return float(special.expit(-log_ratio))
    return max(0.0, float(-np.expm1(log_ratio))) if log_ratio < 0 or np.isnan(log_ratio) else 0.0
