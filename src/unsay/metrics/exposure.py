"""How much likelier each forget answer is than answers to questions that no model has seen, in bits (exposure).

exposure(x) = log2(m + 1) − log2 rank(x), rank(x) = 1 + #{z among m holdout answers : NLL(z) ≤ NLL(x)}; the score is
the mean over rows. A row that nothing tells from the holdout has Σ_k log2((m+1)/k) / (m+1) on average, which tends to
1/ln 2 = 1.44 bits (`chance`): above it the rows still show, below it they were pushed too far. Both are failures.

Paper: exposure: Carlini et al. 2019 (arXiv:1802.08232); GenEx and RelEx: reconstructed from the known words about
"unlearning in- vs out-of-distribution data in LLMs under gradient-based methods", not from its formulas.
Limits: at most log2(m + 1) bits. Sound where forget and holdout answers come from one space; otherwise a row that is
easy for every model looks exposed: compare with the retrained model.
Differs: NLL per token by default, as natural answers differ in length (`per_token=False` is the paper's sum). `extra`
has two_sided = |value − chance|; relex = mean holdout NLL − NLL and relex_lme = log p − log mean holdout p (dominated
by the easiest holdout row), means over rows, nats; with a retrained model genex = mean of log p − log p_retrained and
genex_max, its largest absolute value, a lower bound on the ε of an ε-unlearner.

Likelier than two of three, and less likely than all:

>>> import numpy as np
>>> [round(x, 3) for x in bits({"a": -1.0, "b": -9.0}, np.array([-0.5, -2.0, -3.0])).values()]
[1.0, 0.0]
>>> round(chance(3), 3), round(chance(10**6), 2)
(0.854, 1.44)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import stats
from ._membership import unusable
from ._shared import Floats, by_row, entities, finite, join, left_out, obstacle
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Mean exposure of the forget rows among rows never seen, in bits."""

    split: str = "forget"
    others: str = "holdout"
    """The rows never seen."""
    per_token: bool = True
    """Compare mean token losses; False compares their sums."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, TokenStats, TokenStats]:
        """Both splits on the subject; the forget rows on the retrained model when there is one."""
        return TokenStats(self.split), TokenStats(self.others), TokenStats(self.split, model="retrained")

    def score(self, have: Measurements) -> Score:
        """Bits ≥ 0; `per_example` is each row's exposure, `extra` has chance, two_sided, relex…, genex…."""
        ours, null, twin = self.needs
        if reason := obstacle(have, ours, null):
            return unscored(reason)
        rows, others = have.rows(self.split), have.rows(self.others)
        inside = by_row(have.tokens(ours), rows, self._log_p)
        outside = by_row(have.tokens(null), others, self._log_p)
        if reason := unusable({self.split: inside, self.others: outside}):
            return unscored(reason)
        reference = np.array([outside[i] for i in sorted(outside)])
        values = bits(inside, reference)
        found = stats.mean(values, entities(rows))
        extra = {"chance": chance(len(reference)), "two_sided": abs(found.value - chance(len(reference)))}
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = float(np.mean(list(inside.values())))
            extra["relex"] = mean - float(np.mean(reference))
            extra["relex_lme"] = mean - float(np.logaddexp.reduce(reference) - math.log(len(reference)))
        if not have.why_missing(twin):
            theirs = by_row(have.tokens(twin), rows, self._log_p)
            gaps = finite({i: inside[i] - theirs[i] for i in inside if math.isfinite(theirs.get(i, math.nan))})
            if gaps:
                extra["genex"] = sum(gaps.values()) / len(gaps)
                extra["genex_max"] = max(map(abs, gaps.values()))
        lacking = "answer token"
        note = join(left_out(inside, rows, lacking), left_out(outside, others, lacking), found.note)
        return Score(found.value, values, found.n, found.ci, note, found.clusters, finite(extra))

    def _log_p(self, answer: AnswerStats) -> float:
        return -answer.mean_nll * (1 if self.per_token else len(answer.logp))


def bits(log_p: Mapping[str, float], reference: Floats) -> dict[str, float]:
    """Exposure by example id of rows with these log-probabilities among the m of `reference`."""
    ranked = np.sort(reference)
    ranks = {i: 1 + len(ranked) - int(np.searchsorted(ranked, x, "left")) for i, x in log_p.items()}
    return {i: math.log2((len(ranked) + 1) / rank) for i, rank in ranks.items()}


def chance(m: int) -> float:
    """Expected exposure of a row that is exchangeable with the m it is compared with, bits."""
    return math.log2(m + 1) - math.lgamma(m + 2) / math.log(2) / (m + 1)
