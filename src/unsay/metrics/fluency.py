"""Does the model still write varied text rather than loops or nothing?

Diversity of a generation = Π over n = 2, 3, 4 of (distinct n-grams / n-grams of words), 1 for a text too short to
repeat and 0 for an empty one; the score is the mean over rows.

Paper: Su et al. 2022 (arXiv:2202.06417), diversity.
Differs: words instead of tokens; an empty generation counts 0.
Limits: sees loops and silence, not varied gibberish; read the answers beside it.

"a b a b" has 2 of 3 distinct 2-grams, 2 of 2 3-grams and one 4-gram:

>>> round(diversity("a b a b"), 4)
0.6667
>>> diversity(" ")
0.0
"""

from __future__ import annotations

from dataclasses import dataclass

from ._ngrams import repeated, words
from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Fluency:
    """Mean diversity of greedy generations."""

    split: str = "retain"
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
        found = {row.id: [diversity(text) for text in texts.get(row.id, ())] for row in rows}
        return mean_score({i: sum(v) / len(v) for i, v in found.items() if v}, rows, lacking="generation")


def diversity(text: str) -> float:
    """Π (1 − rep-n) for n = 2, 3, 4; 0 for a text without a word."""
    if not words(text):
        return 0.0
    return (1 - repeated(text, 2)) * (1 - repeated(text, 3)) * (1 - repeated(text, 4))
