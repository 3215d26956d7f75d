"""Is what the model writes still made of words, or of letters thrown together? No classifier needed.

A letter model (trigrams, mixed with pairs and single letters) of the benchmark's own questions and answers, without the
row in question, gives each generation b bits per character. L is the median b of the split's texts themselves, N that
of the same texts with their letters shuffled; degree of gibberish = (b − L) / (N − L), cut to [0, 1]; 1 for an empty
generation. The score is the mean over rows.

Paper: none; after the entropy of printed English, Shannon 1951. Stands in for gibberish classifiers that others load.
Limits: sees letters, not sense: words in a senseless order pass, and loops do (see `repetition`); another language or
script than the rows' counts as gibberish. English in another style than the rows' scores above 0, the more so the
fewer rows there are: compare with the retrained model.
Differs: needs no model and no download.

>>> texts = {i: f"the {noun} sat on the mat and ate the {food}" for i, (noun, food) in enumerate(
...     [("cat", "fish"), ("dog", "meat"), ("fish", "bread"), ("hen", "corn")] * 3)}
>>> found = degrees({0: ["the hen ate the meat on the mat"], 1: ["xqz vvkj wqpz jjx"], 2: [""]}, texts)
>>> found[0] < 0.2, found[1], found[2]
(True, 1.0, 1.0)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from ..data.example import Example
from ..naming import derive_seed
from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored

_ORDER = 3
_LEAST = 200
"""Characters of other rows that a letter model needs."""
_MOST = 1000
"""Rows without a generation of their own that it learns from."""
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Gibberish:
    """Mean degree of gibberish in greedy generations."""

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
        """Mean over the rows, in [0, 1]; `extra` has share, the generations nearer to shuffled letters than to text."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts = have.rows(self.split), have.texts(self.needs[0])
        written = {row.id: texts[row.id] for row in rows if texts.get(row.id)}
        if not written:
            return mean_score({}, rows, lacking="generation")
        language = {row.id: _text(row) for split in have.splits.values() for row in split}
        kept = sorted(language.keys() - written.keys())[:_MOST] + sorted(written)
        found = degrees(written, {i: language[i] for i in kept})
        if not found:
            return unscored(f"the rows have too little text to know letters by: {_LEAST} characters are needed")
        extra = {"share": sum(x >= 0.5 for x in found.values()) / len(found)}
        return mean_score(found, rows, lacking="generation", extra=extra)


def degrees(written: Mapping[_Key, Sequence[str]], texts: Mapping[_Key, str]) -> dict[_Key, float]:
    """Mean degree of each row's generations; nothing where the texts are too short or their letters too even.

    Args:
        written: Generations by row.
        texts: What is known to be language, by row, for every row of `written` and others; a row's own text is left out
            when its generations are judged.
    """
    grams = {i: _grams(text) for i, text in texts.items()}
    model: Counter[str] = Counter()
    for own in grams.values():
        model.update(own)
    if not texts or sum(map(len, texts.values())) - max(map(len, texts.values())) < _LEAST:
        return {}
    letters = len({character for text in texts.values() for character in text.lower()}) + 1
    language, noise = [], []
    for i in written:
        text = texts[i]
        shuffled = list(text)
        Random(derive_seed(0, i)).shuffle(shuffled)
        language.append(_bits(text, model, grams[i], letters))
        noise.append(_bits("".join(shuffled), model, grams[i], letters))
    low, high = _median(language), _median(noise)
    if high - low < 0.1:
        return {}

    def degree(text: str, without: Counter[str]) -> float:
        if not text.strip():
            return 1.0
        return min(1.0, max(0.0, (_bits(text, model, without, letters) - low) / (high - low)))

    return {i: sum(degree(t, grams[i]) for t in given) / len(given) for i, given in written.items()}


def _text(row: Example) -> str:
    return f"{row.question} {row.answer}"


def _grams(text: str) -> Counter[str]:
    """How often each run of 1 to `_ORDER` characters occurs, and under "" how many there are."""
    padded = _padded(text)
    found = Counter(padded[i : i + n] for n in range(1, _ORDER + 1) for i in range(len(padded) - n + 1))
    found[""] = len(padded)
    return found


def _padded(text: str) -> str:
    return f" {' '.join(text.lower().split())} "


def _bits(text: str, model: Counter[str], without: Counter[str], letters: int) -> float:
    """Bits per character of `text`; each order is mixed with the next lower one, which counts as one observation."""
    padded = _padded(text)
    total = 0.0
    for end in range(1, len(padded)):
        p = 1 / letters
        for n in range(1, _ORDER + 1):
            start = end - n + 1
            if start < 0:
                break
            context, gram = padded[start:end], padded[start : end + 1]
            seen = model[context] - without[context]
            p = (model[gram] - without[gram] + p) / (seen + 1)
        total -= math.log2(p)
    return total / (len(padded) - 1)


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
