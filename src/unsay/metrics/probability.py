"""Probability that the model gives to the right answer.

p = exp(−mean token loss of the answer), the end-of-turn token included; the score is the mean of p over the rows. With
`choices`, p(answer) / (p(answer) + Σ p(wrong option)), the wrong options being the rows' perturbed answers, each p
normalised by its own length.

Paper: TOFU (Maini et al. 2024, arXiv:2401.06121), section 2.2.1; `choices` is its rule for real authors and world
facts.
Differs: nothing; both agree with TOFU's own aggregation.

A two-token answer with log-probabilities ln ½ and ln ⅛ has p = √(1/16):

>>> import numpy as np
>>> round(float(np.exp(np.mean(np.log([1 / 2, 1 / 8])))), 6)
0.25
>>> round(option_share(-np.log(0.25), -np.log([0.25, 0.5])), 6)
0.25
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.example import Example
from ._shared import Floats, by_row, losses, mean_score, obstacle
from .have import Measurements, Tokens
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Probability:
    """Mean normalised probability of the answer."""

    split: str = "forget"
    choices: bool = False
    """Compare with the wrong options (the rows' perturbed answers) instead of taking p as it is."""
    answer: str = "answer"
    """``answer`` or a key of the rows' alternatives."""
    prompt: str = "prompt"
    """``prompt`` or a key of the rows' alternatives."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The answer, and the wrong options with `choices`."""
        right = TokenStats(self.split, answer=self.answer, prompt=self.prompt)
        return (right, TokenStats(self.split, answer="perturbed", prompt=self.prompt)) if self.choices else (right,)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        right = have.tokens(self.needs[0])
        if self.choices:
            return mean_score(option_shares(right, have.tokens(self.needs[1]), rows), rows, lacking="wrong options")
        return mean_score(probabilities(right, rows), rows, lacking=f"{self.answer} to score")


def probabilities(answers: Tokens, rows: Sequence[Example]) -> dict[str, float]:
    """Mean p of each row's answer by id. Rows without one are absent."""
    return by_row(answers, rows, lambda a: a.p)


def option_shares(answers: Tokens, wrong: Tokens, rows: Sequence[Example]) -> dict[str, float]:
    """p(right) / (p(right) + Σ p(wrong)) by id, for rows that have both."""
    values = {}
    for row in rows:
        right, others = losses(answers.get(row.id, ())), losses(wrong.get(row.id, ()))
        if len(right) and len(others):
            values[row.id] = float(np.mean([option_share(r, others) for r in right]))
    return values


def option_share(right: float, wrong: Floats) -> float:
    """exp(−right) / (exp(−right) + Σ exp(−wrong)) of mean losses, computed where the probabilities would underflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(1 / (1 + np.exp(right - wrong).sum()))
