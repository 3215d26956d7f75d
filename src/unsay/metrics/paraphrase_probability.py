"""Probability of the same fact in other words.

`reworded="answer"`: p(paraphrased answer | question). `reworded="question"`: p(answer | paraphrased question). p =
exp(−mean token loss), averaged over a row's paraphrases, then over rows. A model that only lost one wording keeps this
high.

Paper: the quantities of TOFU (arXiv:2401.06121), table 1, and of open-unlearning (arXiv:2506.12618), "Para. Prob.".
Differs: several paraphrases of one row are averaged before the rows are.

Two paraphrases with p = 0.2 and 0.4 make a row of 0.3:

>>> import numpy as np
>>> from unsay.data.example import Example
>>> from unsay.metrics.have import AnswerStats
>>> one = lambda p: AnswerStats(np.log(np.array([p], "float32")), *[np.zeros(1)] * 3)
>>> row = Example("q", "a", id="r")
>>> round(probabilities({"r": (one(0.2), one(0.4))}, [row])["r"], 6)
0.3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import TokenStats
from .probability import probabilities
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class ParaphraseProbability:
    """Mean normalised probability under a paraphrase."""

    split: str = "forget"
    reworded: Literal["answer", "question"] = "answer"
    """Which side is paraphrased."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The paraphrased answers, or the answer under the paraphrased questions."""
        if self.reworded == "answer":
            return (TokenStats(self.split, answer="paraphrased"),)
        return (TokenStats(self.split, prompt="paraphrased_question"),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows that have a paraphrase, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        values = probabilities(have.tokens(self.needs[0]), rows)
        return mean_score(values, rows, lacking=f"paraphrased {self.reworded}")
