"""Texts as words: what two of them have in common, and which words carry a fact."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_TOKEN = re.compile(r"\w+")
_LITTLE = frozenset(
    """a about after all also am an and any are as at be been being both but by can could did do does for from had has
    have he her hers herself him himself his i if in indeed into is it its itself like me more most my no not of on or
    other our out over s she should so some such t than that the their theirs them themselves there these they this
    those through to too up very was we were what when where which while who whom whose why will with would you your
    how yes name called known named""".split()  # noqa: SIM905
)


def normal(text: str) -> str:
    """`text` in lower case, compatibility forms unified, with single spaces for everything but letters and digits."""
    return " ".join(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold().replace("_", " ")))


@lru_cache(maxsize=20_000)
def content(text: str) -> frozenset[str]:
    """The words of `text`, in the form of `normal`, that are no function words of English."""
    return frozenset(normal(text).split()) - _LITTLE


@lru_cache(maxsize=20_000)
def facts(text: str) -> frozenset[str]:
    """The words that look like facts: with a digit, or with a capital letter elsewhere than after a full stop."""
    found = set()
    start = True
    for match in re.finditer(r"[^\W_]+|[.!?:]", unicodedata.normalize("NFKC", text)):
        word = match[0]
        if not word[0].isalnum():
            start = True
            continue
        if any(c.isdigit() for c in word) or (word[0].isupper() and not start):
            found.add(word.casefold())
        start = False
    return frozenset(found) - _LITTLE


def holds(text: str, part: str) -> bool:
    """Whether `part` stands in `text` as whole words; both as `normal` gives them.

    Scripts without spaces have no word borders to respect, so there any place counts.
    """
    if not part:
        return False
    return part in text if not part.isascii() and " " not in part else f" {part} " in f" {text} "
