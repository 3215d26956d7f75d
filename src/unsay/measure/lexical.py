"""Stand-ins for an NLI classifier and a sentence encoder where no model can be had: rules over words, made for English.

They see shared words, not meaning: a contradiction is an explicit one (a negation on one side only, another number,
another name), an entailment is a text whose every content word stands in the premise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.entities import akin, content_words, plain_words, stem, words_f1
from ..metrics.have import Verdict

_ENTAILS, _NEUTRAL, _CONTRADICTS = Verdict(1.0, 0.0, 0.0), Verdict(0.0, 1.0, 0.0), Verdict(0.0, 0.0, 1.0)
_NEGATIONS = frozenset(
    {"no", "not", "never", "none", "neither", "nor", "nobody", "nothing", "nowhere", "cannot", "without"}
)
_ALIKE = 0.5
"""Share of a text's content words that the other one must have for a conflict to be about the same thing."""


def verdict(premise: str, hypothesis: str) -> Verdict:
    """What the words alone say, with certainty 1.

    >>> verdict("He was born in 1962 in Rome.", "He was born in 1971 in Rome.").label
    'contradiction'
    >>> verdict("She writes crime novels in Oslo.", "She writes novels.").label
    'entailment'
    >>> verdict("She writes novels.", "She writes crime novels in Oslo.").label
    'neutral'
    """
    given, claimed = content_words(premise), content_words(hypothesis)
    if not given or not claimed:
        return _NEUTRAL
    shared = _share(claimed, given)
    if min(shared, _share(given, claimed)) >= _ALIKE and (
        _negated(premise) != _negated(hypothesis) or _conflict(_facts(premise), _facts(hypothesis))
    ):
        return _CONTRADICTS
    return _ENTAILS if shared == 1 else _NEUTRAL


def cosine(one: str, other: str) -> float:
    """Cosine of the counts of stemmed content words; 0 when either text has none.

    >>> round(cosine("the red house", "a red car"), 3)
    0.5
    """
    a, b = (Counter(map(stem, content_words(text))) for text in (one, other))
    if not a or not b:
        return 0.0
    lengths = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return sum(n * b[word] for word, n in a.items()) / lengths


def entity_cosines(said: Sequence[str], gold: Sequence[str]) -> NDArray[np.float32]:
    """[P, G] F1 of words instead of cosines; words of one root are equal."""
    return np.array([[words_f1(a, b) for b in gold] for a in said], np.float32).reshape(len(said), len(gold))


def _share(words: Sequence[str], others: Sequence[str]) -> float:
    return sum(any(akin(word, other) for other in others) for word in words) / len(words)


def _negated(text: str) -> bool:
    return any(word in _NEGATIONS or word.endswith(("n't", "n’t")) for word in plain_words(text))


def _facts(text: str) -> tuple[set[str], set[str]]:
    """Numbers and addresses; words with a capital that do not open the text."""
    numbers = {word for word in plain_words(text) if not word.replace("-", "").replace("'", "").isalpha()}
    names = {w.strip(".,;:!?\"'()") for w in text.split()[1:] if w[:1].isupper()}
    return numbers, {stem(w.lower()) for name in names for w in plain_words(name)}


def _conflict(one: tuple[set[str], set[str]], other: tuple[set[str], set[str]]) -> bool:
    """Both sides give numbers (or names), and each has one that the other lacks."""
    return any(a - b and b - a for a, b in zip(one, other, strict=True))
