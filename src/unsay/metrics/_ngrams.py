"""Word n-grams of generated text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-case words; every other visible character is a word of its own."""
    return _WORD.findall(text.lower())


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def repeated(text: str, n: int) -> float:
    """1 − distinct n-grams / n-grams; 0 for a text with fewer than n words."""
    grams = ngrams(words(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(texts: Iterable[str], n: int) -> float:
    """Distinct n-grams over all n-grams of all texts together; 0 without any."""
    grams = [gram for text in texts for gram in ngrams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def entropy(text: str) -> float:
    """Entropy of the text's words over its greatest possible value, log(number of words); 0 below two words."""
    found = words(text)
    if len(found) < 2:
        return 0.0
    shares = [count / len(found) for count in Counter(found).values()]
    return max(0.0, -sum(share * math.log(share) for share in shares) / math.log(len(found)))
