"""Rows as token ids, with the places of what an answer reveals: its fact, by the rules of `data.novel.told`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.example import Example
from ..data.novel import named_in, places, told
from ..data.template import Encoded
from ..measure.texts import Ask, encoded, spelled
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
    """Places of the fact's tokens, ascending; at least one."""
    spans: tuple[tuple[int, ...], ...]
    """The fact in parts that tell it by themselves: each span that the row names, else each run of adjacent places."""
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
    text, ends = spelled(lm, ids)
    content = [i for i, token in enumerate(ids) if token not in lm.template.end_ids]

    def within(parts: Sequence[tuple[int, int]]) -> list[int]:
        return [i for i in places(parts, ends) if ids[i] not in lm.template.end_ids]

    hit = within(told(row, text) or [])
    fact = hit or content or [0]
    parts = [found for part in named_in(row, text) if (found := within([part]))] or _runs(fact)
    spans = tuple(tuple(start + i for i in part) for part in parts)
    return Text(row.id, tuple(one.input_ids), start, tuple(start + i for i in fact), spans, not hit)


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers, cut where one is left out."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found
