"""What an edit hangs on: the subject of a row, and the token in its prompt where the subject ends. No torch.

A row's subject is its ``meta["subject"]``, else its entity, where the question says it in these words; else the
longest name in the question that also stands in another question about the same entity. Without one, the edit hangs on
the last token of the question.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..data.example import Example, Prompt
from ..data.template import Template
from ..errors import DataError
from ..writers._spans import capitals, spans

QUESTION = ""
"""The subject of a row in which none is found."""
_OPENED = 4
"""Prompts of a request that are also read after other openings: a subject's keys hardly differ between prompts."""


@dataclass(frozen=True)
class Place:
    """One prompt as ids, and the position in it where the subject ends."""

    ids: tuple[int, ...]
    at: int


@dataclass(frozen=True)
class Request:
    """One thing to edit: a subject, with the prompts that ask about it."""

    subject: str
    """As the prompts write it; "" where the question's last token stands in."""
    rows: tuple[Example, ...]
    places: tuple[Place, ...]
    """The prompts of `rows`, in order; then, where a request is asked in two forms, the same in the other one."""
    others: tuple[Place, ...] = ()
    """The same prompts after other openings; more keys for the same subject."""


def subjects(rows: Sequence[Example]) -> list[str]:
    """The subject of each row as its question writes it, or `QUESTION`."""
    named = capitals(text for row in rows for text in (row.question, row.answer))
    about: dict[str, Counter[str]] = defaultdict(Counter)
    names = [{s.text for s in spans(row.question, named) if s.kind in ("name", "title")} for row in rows]
    for row, found in zip(rows, names, strict=True):
        about[row.entity].update(found)
    return [_subject(row, found, about[row.entity]) for row, found in zip(rows, names, strict=True)]


def _subject(row: Example, names: set[str], about: Counter[str]) -> str:
    for given in (str(row.meta.get("subject", "") or ""), row.entity):
        hit = re.search(rf"(?<!\w){re.escape(given)}(?!\w)", row.question, re.IGNORECASE) if given else None
        if hit:
            return hit[0]
    repeated = [name for name in names if about[name] > 1]
    return max(repeated, key=lambda name: (len(name), name), default=QUESTION)


def requests(
    rows: Sequence[Example],
    template: Template,
    openings: Sequence[str],
    *,
    together: bool,
    also: Template | None = None,
) -> list[Request]:
    """The rows as requests, in their order.

    Args:
        rows: With prompts; rows of plain text cannot be edited.
        template: Encodes them.
        openings: Sentences put in front of the question, for keys that hold in more than one context.
        together: One request for all rows of a subject; otherwise one for each row.
        also: Another form in which the same questions are asked.

    Raises:
        DataError: there are no rows with a prompt.
    """
    asked = [row for row in rows if row.question.strip()]
    if not asked:
        raise DataError(
            "editing needs questions, and none of the forget rows has a prompt",
            "use a gradient method such as npo for plain text",
        )
    groups: dict[str, list[Example]] = {}
    for row, subject in zip(asked, subjects(asked), strict=True):
        alone = not together or subject == QUESTION
        groups.setdefault(f"{subject}\n{row.id}" if alone else subject, []).append(row)
    found = []
    for name, members in groups.items():
        subject = name.partition("\n")[0]
        forms = (template,) if also is None else (template, also)
        places = tuple(place(row.prompt, subject, form) for form in forms for row in members)
        others = tuple(
            place(_opened(row.prompt, opening), subject, template) for opening in openings for row in members[:_OPENED]
        )
        found.append(Request(subject, tuple(members), places, others))
    return found


def place(prompt: Prompt, subject: str, template: Template) -> Place:
    """Where the last mention of `subject` ends in the prompt as the model reads it; of the question, for ""."""
    ids, text, spans_of = template.prompt_offsets(prompt)
    question = prompt if isinstance(prompt, str) else next(m.content for m in reversed(prompt) if m.role == "user")
    start = text.rfind(question.strip())
    end = len(text) if start < 0 else start + len(question.strip())
    if subject:
        mentions = [m.end() for m in re.finditer(re.escape(subject), text[:end], re.IGNORECASE)]
        end = mentions[-1] if mentions else end
    inside = [i for i, (a, b) in enumerate(spans_of) if a < end and b > a]
    return Place(tuple(ids), inside[-1] if inside else len(ids) - 1)


def _opened(prompt: Prompt, opening: str) -> Prompt:
    """`opening` in front of the last question."""
    if isinstance(prompt, str):
        return f"{opening} {prompt}"
    at = max(i for i, m in enumerate(prompt) if m.role == "user")
    return (*prompt[:at], replace(prompt[at], content=f"{opening} {prompt[at].content}"), *prompt[at + 1 :])


def as_text(request: Request) -> str:
    """For the user: the subject and how many rows it covers."""
    rows = f"{len(request.rows)} row{'s' if len(request.rows) > 1 else ''}"
    return f"{request.subject or 'the end of the question'} ({rows})"
