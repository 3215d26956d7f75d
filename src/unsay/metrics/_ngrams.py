"""Word n-grams of generated text."""

from __future__ import annotations

import re
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
