"""Which texts may stand where an answer stood: not the answer, not the question, not twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..data.example import Example
from ._words import content, facts, holds, normal

_DECLINES = re.compile(
    r"(?:i m |i am )?(?:very |so |really )?(?:sorry|afraid|unable)\b|as an ai\b|"
    r"i (?:can t|cannot|could not|could(?:n t)|won t|don t|do not)\b"
)
_CANNOT = r"(?:can(?: t|not| not)|could(?: not|n t))"
_NOT = rf"(?:{_CANNOT}|won t|will not|would(?: not|n t)|do(?: not|n t)|have no|lack)"
_TELL = (
    r"(?:say|said|tell|told|answer(?:ed)?|share|shared|provide|provided|disclosed?|reveal(?:ed)?|comment(?:ed)?|help|"
    r"reply|respond|give|given)"
)
_REFUSES = re.compile(
    rf"\b(?:i|we) (?:\w+ )?{_NOT}\b|"
    r"\b(?:i m|i am|we re|we are) (?:\w+ )?(?:sorry|afraid|unable|unaware|unfamiliar|not)\b|"
    r"^(?:very |so |really )?sorry\b|\bas an ai\b|\bconfidential\b|"
    rf"\b(?:unable|not able|not possible) to {_TELL}\b|"
    rf"\b(?:{_CANNOT}|may not) (?:be )?{_TELL}\b|"
    r"\bno (?:\w+ )?(?:information|knowledge|details?|records?|idea)\b"
)


def refuses(text: str) -> bool:
    """Whether somebody declines anywhere in `text`, or says that nothing is known."""
    return bool(_REFUSES.search(normal(text)))


def fault(row: Example, role: str, text: str, kept: Sequence[str] = ()) -> str:
    """Why `text` cannot be used for `row`: one of `FAULTS`, or "" when it can.

    Comparisons ignore case, punctuation and spaces. A text *says the answer* when it has every word that the answer
    adds to the question; for an ``alternative``, every name and number that it adds is enough, unless the row itself
    lists the text as wrong (``perturbed``).

    Args:
        row: The row that `text` was written for.
        role: What was to be written.
        text: A candidate.
        kept: Texts already accepted for the row.
    """
    said, question = normal(text), normal(row.question)
    if not said:
        return "empty"
    if said == question:
        return "the question"
    if any(said == normal(other) for other in kept):
        return "duplicate"
    for answer in (row.answer, *row.answers("paraphrased")):
        true = normal(answer)
        if said == true:
            return "the answer"
        if holds(said, true):
            return "holds the answer"
    if role == "alternative" and _DECLINES.match(said):
        return "declines"
    listed = role != "alternative" or any(said == normal(wrong) for wrong in row.answers("perturbed"))
    return "says the answer" if _says(row, text, strict=not listed) else ""


FAULTS = ("empty", "the question", "duplicate", "the answer", "holds the answer", "declines", "says the answer")


def _says(row: Example, text: str, *, strict: bool) -> bool:
    asked, said = content(row.question), content(text)
    new = content(row.answer) - asked
    if new and new <= said:
        return True
    named = facts(row.answer) - asked
    return strict and bool(named) and bool(row.question) and named <= said
