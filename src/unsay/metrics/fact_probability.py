"""Probability of the tokens by which the right answer tells what its question does not say.

p = exp( mean_t log p(y_t | x, y_<t) ), t over the tokens of the answer's fact; the score is the mean of p over the
rows. The fact is what a row names (`spans`); else the names and numbers that the question does not have; else its other
entities; else its other words that are not in the question. Where no part stands out, the whole answer is it.

Paper: none; words that any model would say make most of a long answer, and with them most of its probability.
Limits: the right words before the fact are given, and may give it away: compare with the retrained model. Names and
entities are found by rules for English.
Differs: rows whose answer tells nothing are left out and counted. `probability` takes all tokens, the end of the answer
among them; the rules are those of the attacks `logit-lens` and `activation-patching`.

Of "In Oslo." the tokens "In" and " Oslo" have probabilities ½ and ⅛, the full stop and the end 1:

>>> import numpy as np
>>> logp, ends = np.log([1 / 2, 1 / 8, 1, 1]).astype(np.float32), np.array([2, 7, 8, 8], np.int32)
>>> stats = AnswerStats(logp, np.zeros(4, np.int32), logp, logp, "In Oslo.", ends)
>>> round(fact_probability(Example("Where does Ada live?", "In Oslo."), stats), 6)
0.125
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..data.example import Example
from ..data.novel import places, told
from ._shared import mean_score, obstacle
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class FactProbability:
    """Mean normalised probability of what only the answer tells."""

    split: str = "forget"
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The answer's tokens with their places in the text: no forward beside the one of `probability`."""
        return (TokenStats(self.split, ends=True),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows whose answer tells something, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, answers = have.rows(self.split), have.tokens(self.needs[0])
        found = {row.id: [fact_probability(row, stats) for stats in answers.get(row.id, ())] for row in rows}
        told_by = {i: [p for p in values if p is not None] for i, values in found.items()}
        values = {i: sum(given) / len(given) for i, given in told_by.items() if given}
        return mean_score(values, rows, lacking="answer that tells what its question does not say")


def fact_probability(row: Example, stats: AnswerStats) -> float | None:
    """Geometric mean of the probabilities of the fact's tokens; None where there are none, NaN where a number is."""
    parts = told(row, stats.text)
    if parts is None:
        return None
    chosen = places(parts or [(0, len(stats.text.rstrip()))], stats.ends.tolist())
    if not chosen:
        return None
    return math.nan if np.isnan(stats.logp).any() else float(np.exp(np.mean(stats.logp[chosen], dtype=np.float64)))
