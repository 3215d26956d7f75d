"""Share of the right answer's words that the model's own answer contains, in order (ROUGE-L recall).

ROUGE-L recall = |longest common subsequence of words| / |words of the answer|, with Porter stemming, of the greedy
generation against the answer.

Paper: Lin 2004; used by TOFU (arXiv:2401.06121), section 2.2.1. Computed by the package rouge-score.
Differs: TOFU generates until a total length of 200 tokens; here `max_new_tokens` counts the answer alone. With
`sampling` (ReLearn's way, arXiv:2502.11190) a row's runs are averaged and `extra` has each run's mean.

"the cat sat" answers "the black cat sat down" with three of five words:

>>> round(recall("the black cat sat down", "The cat sat."), 3)
0.6
>>> recall("Paris", "")
0.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..data.example import Example
from ._runs import mean_spread
from ._shared import mean_score, obstacle
from .have import Measurements, Texts
from .needs import Generations, Sampling
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Rouge:
    """Mean ROUGE-L recall of generations."""

    split: str = "forget"
    max_new_tokens: int = 128
    """Length limit of the generations."""
    prompt: str = "prompt"
    """``prompt`` or a key of the rows' alternatives."""
    sampling: Sampling | None = None
    """Draw the generations, several runs each, instead of the likeliest one."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[Generations, ...]:
        """Answers, greedy unless sampled."""
        return (Generations(self.split, self.max_new_tokens, self.prompt, sampling=self.sampling),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; an empty generation counts 0. `extra` has the runs where there are several."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        found = each_recall(have.texts(self.needs[0]), rows)
        extra = mean_spread(found, self.sampling)
        return mean_score(_means(found), rows, lacking="generation", extra=extra)


def recalls(texts: Texts, rows: Sequence[Example]) -> dict[str, float]:
    """ROUGE-L recall by id, the mean over a row's generations; rows without one are absent."""
    return _means(each_recall(texts, rows))


def each_recall(texts: Texts, rows: Sequence[Example]) -> dict[str, list[float]]:
    """ROUGE-L recall of every generation by id; rows without one are absent."""
    return {row.id: [recall(row.answer, text) for text in texts[row.id]] for row in rows if texts.get(row.id)}


def _means(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {i: sum(values) / len(values) for i, values in found.items()}


def recall(answer: str, text: str) -> float:
    """ROUGE-L recall of `text` against `answer`, stemmed; 0 when either has no word."""
    return float(_scorer().score(answer, text)["rougeL"].recall)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)
