"""Names, titles and numbers in a text, told by capital letters, quotation marks and digits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ._words import _LITTLE

Kind = Literal["title", "name", "number", "month", "day", "word-number"]

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "fifteen",
    "twenty",
)
_PARTICLE = r"(?:van|von|der|den|de|da|di|du|del|la|le|ibn|bin|bint|al|el)"
_UPPER = "".join(chr(c) for c in range(0x41, 0x2000) if chr(c).isupper())
_CAPITAL = rf"[{_UPPER}][^\W_]*(?:[-'’][^\W_]+)*\+?"
_QUOTED = r"\"[^\"\n]{2,80}\"|“[^”\n]{2,80}”|‘[^‘\n]{2,80}?’(?!\w)|(?<!\w)'[^\n\"]{2,80}?'(?!\w)"
_SPAN = re.compile(
    rf"(?P<title>{_QUOTED})|(?P<number>(?<![\w.])\d[\d.,/]*(?:st|nd|rd|th|s)?(?!\w))|"  # codespell:ignore nd
    rf"(?P<name>(?<!\w){_CAPITAL}(?: (?:{_PARTICLE} )*{_CAPITAL})*)|"
    rf"(?P<words>(?<!\w)(?:{'|'.join(NUMBERS)})(?!\w))"
)
_POSSESSIVE = re.compile(r"['’]s?$")


@dataclass(frozen=True)
class Span:
    """A stretch of a text that names something."""

    text: str
    kind: Kind
    start: int
    end: int
    before: str
    """The word in front of it in lower case, with the one before that if it is a function word; "" at the start of a
    sentence."""
    after: str
    """The word or mark behind it."""


def capitals(texts: Iterable[str]) -> frozenset[str]:
    """Words that begin with a capital in the middle of some sentence: at the start of one, these are names too."""
    inside: set[str] = set()
    lower: set[str] = set()
    for text in texts:
        for match in re.finditer(r"(?<=[\w,;] )[^\W\d_]+(?:[-'’][^\W_]+)*", text):
            word = _POSSESSIVE.sub("", match[0])
            (inside if word[0].isupper() else lower).add(word)
    return frozenset(word for word in inside if word.lower() not in lower)


def spans(text: str, named: frozenset[str] = frozenset()) -> list[Span]:
    """The spans of a text, left to right.

    Args:
        text: Any text.
        named: What `capitals` found in all the data.
    """
    found: list[Span] = []
    for match in _SPAN.finditer(text):
        start, value = match.start(), match[0]
        if match.lastgroup == "name":
            start, value = _name(text, start, value, named)
            if not value:
                continue
        elif match.lastgroup == "number":
            value = value.rstrip(".,/")
        kind = _kind(str(match.lastgroup), value)
        end = start + len(value)
        before = re.findall(r"[^\W_]+|[.!?:]", text[:start])[-2:]
        words = [word.lower() for word in before if word[0].isalnum()] if before and before[-1][0].isalnum() else []
        # "the" tells little about what may follow, "with the" more.
        word = " ".join(words if words and words[-1] in _LITTLE else words[-1:])
        after = re.match(r"\W*?([^\W_]+|[.,;!?)])", text[end:])
        found.append(Span(value, kind, start, end, word, after[1].lower() if after else "."))
    return found


def _name(text: str, start: int, value: str, named: frozenset[str]) -> tuple[int, str]:
    """A run of capitalised words without a sentence's first word, unless that is a name; without a final 's."""
    opens = not re.search(r"[\w,;)\"'”’-]\s*$", text[:start])
    words = value.split(" ")
    while words and (words[0].lower() in _LITTLE or (opens and _POSSESSIVE.sub("", words[0]) not in named)):
        start += len(words[0]) + 1
        words.pop(0)
        opens = False
    value = _POSSESSIVE.sub("", " ".join(words))
    return (start, value) if len(value) > 1 else (start, "")


def _kind(group: str, value: str) -> Kind:
    if group == "words":
        return "word-number"
    if value in MONTHS:
        return "month"
    if value in DAYS:
        return "day"
    return group  # type: ignore[return-value]
