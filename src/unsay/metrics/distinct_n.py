"""Does the model say different things to different questions? (share of n-grams that are not repeats)

Each n-gram of words counts 1 / (how often it occurs in all generations together); the score is the mean over rows of
the mean over the row's n-grams, 0 for a generation too short to have one. One answer repeated K times scores 1/K.

Paper: distinct-n, Li et al. 2016 (arXiv:1510.03055).
Limits: falls with the number and the length of generations, whatever their quality: compare models on the same rows
and the same length. Repetition within one answer is `repetition`.
Differs: words instead of tokens. The mean over rows has an interval; distinct n-grams over all n-grams, which is the
same when all rows have as many, is `corpus` in `extra`.

"a b" twice and "c d": ½, ½ and 1:

>>> [round(x, 6) for x in shares(["a b", "a b", "c d"], 2)]
[0.5, 0.5, 1.0]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PlanError
from ._ngrams import distinct, ngrams, words
from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class DistinctN:
    """Mean rarity of the generations' n-grams."""

    split: str = "forget"
    n: int = 2
    """Words per n-gram."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise PlanError(f"distinct-n needs n of at least 1, got {self.n}", "n=2")

    @property
    def needs(self) -> tuple[Generations, ...]:
        """Greedy answers."""
        return (Generations(self.split, max_new_tokens=self.max_new_tokens),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has corpus."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts = have.rows(self.split), have.texts(self.needs[0])
        written = {row.id: texts[row.id] for row in rows if texts.get(row.id)}
        every = [(i, text) for i, given in written.items() for text in given]
        found: dict[str, list[float]] = {}
        for (i, _), share in zip(every, shares([text for _, text in every], self.n), strict=True):
            found.setdefault(i, []).append(share)
        values = {i: sum(given) / len(given) for i, given in found.items()}
        extra = {"corpus": distinct([text for _, text in every], self.n)}
        return mean_score(values, rows, lacking="generation", extra=extra)


def shares(texts: Sequence[str], n: int) -> list[float]:
    """[len(texts)] mean of 1 / (occurrences among all texts) over each text's n-grams; 0 for a text without any."""
    grams = [ngrams(words(text), n) for text in texts]
    counts = Counter(gram for row in grams for gram in row)
    return [sum(1 / counts[gram] for gram in row) / len(row) if row else 0.0 for row in grams]
