"""What an edit hangs on: the subject of a row, and the token in its prompt where the subject ends. No torch.

A row's subject is its ``meta["subject"]``, else its entity, where the question says it in these words; else the name
in the question that most questions about the same entity say, the longest of equals, if a third of them do. Without
one, and where ``meta["subject"]`` is "", the edit hangs on the last token of the question.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..data.entities import whole
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
    about: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        about[row.entity].append(row.question)
    names = {entity: _repeated(questions, named, entity) for entity, questions in about.items()}
    return [_subject(row, names[row.entity]) for row in rows]


def pinned(rows: Sequence[Example]) -> list[Example]:
    """`rows` with the subjects found among all of them, so that any part of them hangs on the same."""
    return [
        replace(row, meta={**row.meta, "subject": subject}) for row, subject in zip(rows, subjects(rows), strict=True)
    ]


def _repeated(questions: Sequence[str], named: frozenset[str], entity: str) -> list[str]:
    """Names by how many of the questions say them, then by length. Rows without an entity need not share one."""
    names = {s.text for question in questions for s in spans(question, named) if s.kind in ("name", "title")}
    said = {name: sum(_says(question, name) for question in questions) for name in names}
    least = max(2.0, len(questions) / 3 if entity else 2.0)
    return sorted((n for n in names if said[n] >= least), key=lambda n: (said[n], len(n), n), reverse=True)


def _subject(row: Example, names: Sequence[str]) -> str:
    given = row.meta.get("subject")
    if given == QUESTION:
        return QUESTION
    for known in (str(given or ""), row.entity):
        if known and (hit := whole(known, re.IGNORECASE).search(row.question)):
            return hit[0]
    return next((name for name in names if _says(row.question, name)), QUESTION)


def _says(question: str, name: str) -> bool:
    """Whether `name` stands there as whole words, as it is written: in lower case it may be an ordinary word."""
    return name in question and whole(name).search(question) is not None


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
        mentions = [m.end() for m in whole(subject, re.IGNORECASE).finditer(text, 0, end)]
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
