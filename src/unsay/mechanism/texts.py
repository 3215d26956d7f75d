"""Rows as token ids, with the places of what an answer reveals.

What it reveals, its fact, is what the row names under ``spans``; else the names and numbers that the question does not
have; else its other entities; else its other words that are not in the question; else the whole answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..data.entities import entities, stem
from ..data.example import Example
from ..data.novel import secret, spans
from ..data.template import Encoded
from ..measure.texts import Ask, encoded
from ..models.lm import LM

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Text:
    """One row as the model reads it; the token at place t is predicted from place t − 1."""

    id: str
    """Of the row."""
    ids: tuple[int, ...]
    """Prompt and answer."""
    start: int
    """Place of the answer's first token."""
    fact: tuple[int, ...]
    """Places of the fact's tokens, ascending; at least one."""
    whole: bool
    """Whether nothing in the answer stands out, so that all of it counts."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """The ids before the answer."""
        return self.ids[: self.start]


def texts(lm: LM, rows: Sequence[Example], max_length: int = 1024) -> list[Text]:
    """The rows, in order, under the model's own template.

    Raises:
        DataError: a row cannot be encoded, or its prompt leaves no room for an answer.
    """
    found, _ = encoded(lm, [Ask(row.prompt, row.answer) for row in rows], max_length)
    return [_text(lm, row, one) for row, one in zip(rows, found, strict=True)]


def _text(lm: LM, row: Example, one: Encoded) -> Text:
    ids, start = one.answer_ids, one.answer_start
    # A token may hold part of a character only, so that lengths are those of all the tokens up to it.
    ends = [len(_decoded(lm, ids[: i + 1])) for i in range(len(ids))]
    begins = [0, *ends[:-1]]
    told = _told(row, _decoded(lm, ids))
    content = [i for i, token in enumerate(ids) if token not in lm.template.end_ids]
    hit = [i for i in content if any(begin < ends[i] and begins[i] < end for begin, end in told)]
    fact = tuple(start + i for i in hit or content or [0])
    return Text(row.id, tuple(one.input_ids), start, fact, not hit)


def _told(row: Example, text: str) -> list[tuple[int, int]]:
    """First character and end of each part of the fact in the answer's text."""
    for parts in _ladder(row):
        found = [(at, at + len(part)) for part in parts if (at := text.find(part)) >= 0]
        if found:
            return found
    new = secret(row)
    words = [m.span() for m in _WORD.finditer(text) if new and stem(m[0].lower()) in new.words]
    return [] if len(words) == len(_WORD.findall(text)) else words


def _ladder(row: Example) -> Iterator[Sequence[str]]:
    yield spans(row)
    found = entities(row.answer, row.question)
    yield [one for one in found if any(c.isupper() or c.isdigit() for c in one)]
    yield found


def _decoded(lm: LM, ids: Sequence[int]) -> str:
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
