"""Rows as token ids, with the places of what an answer reveals: its names and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.entities import entities
from ..data.example import Example
from ..data.template import Encoded
from ..measure.texts import Ask, encoded
from ..models.lm import LM


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
    """Places of the tokens of the answer's names and numbers, ascending; of the whole answer where it has none."""
    named: bool
    """Whether the answer has a name or number."""

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
    ids = one.answer_ids
    whole = [one.answer_start + i for i, token in enumerate(ids) if token not in lm.template.end_ids]
    # A token may hold part of a character only, so that lengths are those of all the tokens up to it.
    so_far = [_decoded(lm, ids[: i + 1]) for i in range(len(ids))]
    text = so_far[-1]
    told = [e for e in entities(row.answer, row.question) if any(c.isupper() or c.isdigit() for c in e)]
    spans = [(at, at + len(e)) for e in told if (at := text.find(e)) >= 0]
    ends = [len(part) for part in so_far]
    hit = [
        place
        for place in whole
        if any(
            begin < ends[place - one.answer_start] and _begin(ends, place - one.answer_start) < end
            for begin, end in spans
        )
    ]
    return Text(row.id, tuple(one.input_ids), one.answer_start, tuple(hit or whole or [one.answer_start]), bool(hit))


def _begin(ends: Sequence[int], number: int) -> int:
    return ends[number - 1] if number else 0


def _decoded(lm: LM, ids: Sequence[int]) -> str:
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
