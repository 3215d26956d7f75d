"""Share of what the model writes that only repeats itself.

rep-4 of a generation = 1 − distinct 4-grams of words / 4-grams of words, 0 below four words; the score is the mean over
rows.

Paper: Welleck et al. 2019 (arXiv:1908.04319), seq-rep-4; distinct-n: Li et al. 2016 (arXiv:1510.03055).
Differs: words instead of tokens, so that models with different tokenizers compare.
Limits: an empty generation repeats nothing; the share of empty ones is in `extra`, with distinct_1 and distinct_2 over
all generations together.

"no no no no no" has two 4-grams, both the same:

>>> from unsay.metrics._ngrams import repeated
>>> repeated("No no no no no", 4)
0.5
"""

from __future__ import annotations

from dataclasses import dataclass

from ._ngrams import distinct, repeated
from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Mean share of repeated 4-grams."""

    split: str = "forget"
    max_new_tokens: int = 128
    """Length limit of the generations."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[Generations, ...]:
        """Greedy answers."""
        return (Generations(self.split, max_new_tokens=self.max_new_tokens),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts = have.rows(self.split), have.texts(self.needs[0])
        written = {row.id: texts[row.id] for row in rows if texts.get(row.id)}
        values = {i: sum(repeated(text, 4) for text in found) / len(found) for i, found in written.items()}
        every = [text for found in written.values() for text in found]
        extra = {"distinct_1": distinct(every, 1), "distinct_2": distinct(every, 2)}
        if every:
            extra["empty"] = sum(not text.strip() for text in every) / len(every)
        return mean_score(values, rows, lacking="generation", extra=extra)
