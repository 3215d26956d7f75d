"""What must not come back: words, runs of words and facts of the forget answers that their questions do not give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from ..data.entities import stem
from ..data.example import Example
from ..writers._words import content, facts, holds, normal

RUN = 4
"""Words in a row from which a piece of a forget answer counts as private content."""


class Private:
    """The private content of some forget rows.

    A run of `RUN` words of an answer is private when one of them is a content word that the question lacks in any form
    (lives in, live). Every row keeps all its own runs back, and of other rows those that are no common phrase: a run
    that answers about two subjects have, or that stands in `common`, tells nothing.

    Args:
        rows: The rows to forget.
        common: Texts that are not to be forgotten, such as the retain answers.
    """

    def __init__(self, rows: Sequence[Example], common: Sequence[str] = ()):
        whose: dict[str, set[str]] = defaultdict(set)
        self._own: dict[str, frozenset[str]] = {}
        self._answers: dict[str, str] = {}
        for row in rows:
            runs = runs_of(row)
            self._own[row.id] = runs
            for run in runs:
                whose[run].add(row.entity or row.id)
            if content(row.answer) - content(row.question):
                self._answers[row.id] = normal(row.answer)
        known = {run for text in common for run in _runs(normal(text))}
        self._rare = frozenset(run for run, owners in whose.items() if len(owners) == 1 and run not in known)
        self._pairs = {(normal(row.question), normal(row.answer)) for row in rows}
        self._whole = {normal(row.answer) for row in rows}

    def leak(self, row: Example, text: str) -> str:
        """The first piece of private content in `text`, written for `row`; "" when there is none.

        What the row's own question says may be said again.
        """
        said, asked = normal(text), normal(row.question)
        whole = self._answers.get(row.id, "")
        if whole and holds(said, whole) and not holds(asked, whole):
            return whole
        given = _runs(asked)
        own = self._own.get(row.id, frozenset())
        for run in sorted(_runs(said) - given):
            if run in own or run in self._rare:
                return run
        return ""

    def is_original(self, question: str, answer: str) -> bool:
        """Whether this is a pair of the forget rows."""
        return (normal(question), normal(answer)) in self._pairs

    def is_answer(self, text: str) -> bool:
        """Whether this is the whole answer of a forget row."""
        return normal(text) in self._whole


def runs_of(row: Example) -> frozenset[str]:
    """The private runs of one row's answer."""
    asked = {stem(word) for word in content(row.question)}
    new = {word for word in content(row.answer) if stem(word) not in asked}
    return frozenset(run for run in _runs(normal(row.answer)) if new & set(run.split()))


def new_facts(row: Example) -> frozenset[str]:
    """Names, numbers and parts of addresses that the answer adds to the question."""
    words = {word for piece in row.answer.split() if "@" in piece or "://" in piece for word in normal(piece).split()}
    return (facts(row.answer) | frozenset(words)) - set(normal(row.question).split())


def new_words(row: Example) -> list[str]:
    """Content words that the answer adds to the question, in its order."""
    asked = content(row.question)
    return [word for word in normal(row.answer).split() if word in content(row.answer) and word not in asked]


@lru_cache(maxsize=20_000)
def _runs(text: str) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1))
