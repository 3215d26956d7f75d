"""Forget questions put in other words: what the attacks by prompts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..augment.assemble import asked_as
from ..data.example import Example, Message, Prompt
from ..data.turns import begin, guarded
from ..errors import MethodError


def questions(rows: Sequence[Example], attack: str) -> list[Example]:
    """The rows that ask something.

    Raises:
        MethodError: none does.
    """
    asking = [row for row in rows if row.question.strip()]
    if not asking:
        raise MethodError(
            f"{attack} needs forget rows with questions, and none of the {len(rows)} has one",
            "plain text can be attacked by changed weights",
        )
    return asking


def reworded(row: Example, question: str, *, system: str = "", opening: str = "") -> Example:
    """`row` asked as `question`, behind a system message, with the answer begun; id and answer stay."""
    prompt: Prompt = asked_as(row.prompt, question)
    if system:
        turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        prompt = guarded(turns, system)
    return row.with_prompt(begin(prompt, opening) if opening else prompt)


def instead(row: Example, prompt: Prompt, answer: str, **meta: Any) -> Example:
    """`row` with another question and answer; the other wordings of the old one are dropped."""
    return replace(row, prompt=prompt, answer=answer, alternatives={}, meta={**row.meta, **meta})


def slug(text: str) -> str:
    """`text` as a label: ``The answer is`` → ``the-answer-is``."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())[:40] or "empty"
