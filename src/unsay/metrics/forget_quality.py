"""Do the truth ratios on the forget rows look like a model's that never saw them? (p-value)

Two-sample Kolmogorov–Smirnov test between the truth ratios R of the subject and of the retrained model over the split's
rows; the score is the p-value (1: indistinguishable). Needs a retrained model.

Paper: TOFU (arXiv:2401.06121), section 2.2.2.
Differs: TOFU tests 1/R, which gives the same D and p. A p-value depends on n and ignores that both models answered the
same questions; so `extra` also has ks (the distance D), n_retrained, and the paired mean difference of ln R with its
clustered interval and sign-flip p (log_ratio_difference, difference_low, difference_high, difference_p).

Two samples of three that do not overlap have D = 1 and p = 2 / C(6, 3) = 0.1:

>>> from unsay import stats
>>> d, p = stats.ks([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
>>> d, round(p, 10)
(1.0, 0.1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import stats
from ._shared import broken, entities, finite, join, left_out
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored
from .truth_ratio import log_ratios, ratio_needs, ratio_obstacle


@dataclass(frozen=True, kw_only=True)
class ForgetQuality:
    """P-value of the KS test of truth ratios, subject against retrained."""

    split: str = "forget"
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Perturbed, paraphrased and plain answers, on the subject and on the retrained model."""
        return ratio_needs(self.split) + ratio_needs(self.split, "retrained")

    def score(self, have: Measurements) -> Score:
        """The p-value in [0, 1]; `per_example` is ln R of the subject."""
        for model in ("subject", "retrained"):
            if reason := ratio_obstacle(have, self.split, model):
                return unscored(reason)
        rows = have.rows(self.split)
        ours, theirs = (log_ratios(have, self.split, model)[0] for model in ("subject", "retrained"))
        lacking = "perturbed answers"
        if not ours or not theirs:
            return unscored(f"no row of the split has {lacking}")
        if problem := broken(ours):
            return unscored(problem)
        if problem := broken(theirs):
            return unscored(f"retrained model: {problem}")
        distance, p = stats.ks(list(ours.values()), list(theirs.values()))
        extra = {"ks": distance, "n_retrained": float(len(theirs))}
        paired = stats.paired_difference(ours, theirs, entities(rows))
        if math.isfinite(paired.value):
            extra |= {"log_ratio_difference": paired.value, "difference_p": paired.p}
        if paired.ci:
            extra |= {"difference_low": paired.ci[0], "difference_high": paired.ci[1]}
        note = join(left_out(ours, rows, lacking), paired.note)
        return Score(p, finite(ours), len(ours), None, note, paired.clusters, extra)
