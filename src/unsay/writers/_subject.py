"""Whom or what a question is about, as it stands in the question."""

from __future__ import annotations

import re

from ..data.entities import whole
from ..data.example import Example
from ._spans import Span, spans

_PLACES = ("in", "from", "at", "near", "on")
"""What stands behind these is where, not who."""


def subject(row: Example) -> str:
    """The subject of `row` in the words of its question, "" when none is told.

    The row's entity; else a name, one that owns something or the longest; else a title.
    """
    question = row.question
    name = row.entity
    if name and _stands(question, name):
        return name
    found = spans(question)
    names = [(re.split(r"['’]s? ", s.text)[0], s) for s in found if s.kind == "name"]
    parts = {word for word in re.findall(r"\w+", name) if len(word) > 2}
    own = [text for text, _ in names if parts & set(re.findall(r"\w+", text))]
    if own:
        return max(own, key=len)
    titles = [s.text.strip("\"'“”‘’.,;:!? ") for s in found if s.kind == "title"]
    free = [text for text, s in names if not _is_place(question, s, s.start + len(text))]
    long = [text for text in free if " " in text]
    if long:
        return max(long, key=lambda text: (not _behind_the(question, text), _owns(question, text), len(text)))
    if titles:
        return titles[0]
    return max(free, key=len) if free and not re.search(r"\bauthor\b", question) else ""


def is_title(question: str, name: str) -> bool:
    """Whether `name` stands between quotation marks in `question`: a work, not a person."""
    return bool(name) and re.search(rf"[\"'“‘]{re.escape(name)}[.,]?[\"'”’]", question) is not None


def _behind_the(question: str, name: str) -> bool:
    """A thing, not a person."""
    return re.search(rf"\b(?:the|an?) {re.escape(name)}", question, re.IGNORECASE) is not None


def _owns(question: str, name: str) -> bool:
    return re.search(rf"{re.escape(name)}['’]", question) is not None


def _stands(text: str, name: str) -> bool:
    return whole(name).search(text) is not None


def _is_place(text: str, span: Span, end: int) -> bool:
    """Behind a preposition of place or a comma, and owning nothing."""
    owns = re.match(r"['’]", text[end:]) is not None
    behind = (span.before.split() or [""])[-1] in _PLACES or text[: span.start].rstrip().endswith(",")
    return behind and not owns
