r"""Overlap of the model's own answer with the right one, extra words counting against it (ROUGE-L F1).

P = |LCS| / |words of the generation|, R = |LCS| / |words of the answer|, F1 = 2PR / (P + R), LCS being the longest
common subsequence of words, without stemming; 0 where there is no common word.

Paper: Lin 2004; MUSE's verbatim and knowledge memorisation (arXiv:2407.06460), section 3. Computed by rouge-score.
Differs: where MUSE cuts a right answer to as many tokens as it generates, `answer_words` cuts it to words.

"the cat sat on it" answers "the black cat sat" with three of five and three of four words: 2 · .6 · .75 / 1.35:

>>> round(f1("the black cat sat", "the cat sat on it"), 6)
0.666667
>>> until("Paris\n\nQuestion: and then?", ("\n\n", "Question:"))
'Paris'
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import PlanError
from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class RougeF1:
    """Mean ROUGE-L F1 of greedy generations."""

    split: str = "forget"
    max_new_tokens: int = 128
    """Length limit of the generations."""
    stop: tuple[str, ...] = ()
    """A generation ends before the first of these: a base model that was shown questions goes on with another one."""
    answer_words: int = 0
    """Only so many words of the answer count; 0 is all of them."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.answer_words < 0 or "" in self.stop:
            raise PlanError(
                f"answer_words is {self.answer_words} and stop {list(self.stop)}",
                "answer_words: 0 or more; stop: texts that are not empty",
            )

    @property
    def needs(self) -> tuple[Generations, ...]:
        """Greedy answers."""
        return (Generations(self.split, max_new_tokens=self.max_new_tokens),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; an empty generation counts 0."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts = have.rows(self.split), have.texts(self.needs[0])
        values = {}
        for row in rows:
            answer = " ".join(row.answer.split()[: self.answer_words or None])
            found = [f1(answer, until(text, self.stop)) for text in texts.get(row.id, ())]
            if found:
                values[row.id] = sum(found) / len(found)
        return mean_score(values, rows, lacking="generation")


def until(text: str, stop: tuple[str, ...]) -> str:
    """`text` before the first of `stop`."""
    for mark in stop:
        text = text.partition(mark)[0]
    return text


def f1(answer: str, text: str) -> float:
    """ROUGE-L F1 of `text` against `answer`; 0 when either has no word."""
    return float(_scorer().score(answer, text)["rougeL"].fmeasure)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)
