"""What stops a run before it starts: empty answers, duplicates, forget∩retain, answers that would be cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataError
from .example import Example, ForgetData
from .template import Encoded, Template

_SOURCE = re.compile(r"[^\n]{1,120}:(?:row )?\d+")
_SHOWN = 3
SMALL = 10
"""Forget rows below which scores are noted to be rough."""


def normal(text: str) -> str:
    """`text` for comparisons: NFKC, case folded, whitespace runs as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def same_key(row: Example) -> tuple[str, str]:
    """What two rows share when they are the same row: normalised prompt (all turns) and answer."""
    return _prompt_key(row), normal(row.answer)


def check_data(data: ForgetData) -> list[str]:
    """Checks the rows themselves; needs no tokenizer.

    Returns:
        Notes: what is odd but may be meant (the same question with two answers, very few rows).

    Raises:
        DataError: all of it at once: no forget rows, empty answers or questions, an answer that is its question,
            duplicates in a list, an id used twice in a list or for different rows, rows shared by two lists.
    """
    lists = _lists(data)
    problems: list[str] = []
    notes: list[str] = []
    if not data.forget:
        problems.append("forget — has no rows — expected at least one")
    for name, rows in lists.items():
        problems += _row_problems(name, rows)
        problems += _twice(name, rows)
        notes += _two_answers({name: rows})
    problems += _clashing_ids(lists)
    for one, other in (("forget", "retain"), ("forget", "holdout"), ("forget", "utility"), ("retain", "holdout")):
        problems += _shared(one, lists[one], other, lists[other])
        if one == "forget":
            notes += _two_answers({one: lists[one], other: lists[other]})
    if problems:
        raise DataError(problems, "take the rows out of one of the two places, or give them their text")
    if len(data.forget) < SMALL:
        notes.append(f"forget has {_count(len(data.forget), 'row')}: intervals will be wide")
    if data.retain and len(data.retain) < len(data.forget):
        notes.append(
            f"retain has {len(data.retain)} rows for {len(data.forget)} forget rows: they are shown repeatedly"
        )
    return notes


def check_lengths(rows: Sequence[Example], template: Template, max_length: int, truncate: bool, name: str) -> list[str]:
    """Checks that every row can be encoded and keeps its answer within `max_length` tokens.

    Args:
        rows: One list of rows.
        template: How they are rendered.
        max_length: Tokens of prompt and answer, end-of-turn token included.
        truncate: Allow answers to be cut; each row must keep one answer token all the same.
        name: The list's name, for messages.

    Returns:
        Notes: how many answers are cut, where `truncate` allows it.

    Raises:
        DataError: all of it at once: rows that cannot be encoded, answers cut, prompts that leave no room.
    """
    problems, notes, need = _length_problems(rows, template, max_length, truncate, name)
    if problems:
        raise DataError(problems, _length_hint(need, max_length))
    return notes


def check_all(data: ForgetData, template: Template, max_length: int, truncate: bool) -> list[str]:
    """`check_data` and `check_lengths` of every list; one error with all problems, or all notes."""
    problems: list[str] = []
    hints: list[str] = []
    notes: list[str] = []
    need = 0
    try:
        notes += check_data(data)
    except DataError as error:
        problems += error.problems
        hints.append(error.hint)
    lists = _lists(data)
    for name, rows in lists.items():
        wrong, more, longest = _length_problems(rows, template, max_length, truncate, name)
        problems += wrong
        notes += more
        need = max(need, longest if wrong else 0)
    if problems:
        hints += [_length_hint(need, max_length)] if need > max_length else []
        raise DataError(problems, "; ".join(hints))
    return notes


def _lists(data: ForgetData) -> dict[str, Sequence[Example]]:
    return {"forget": data.forget, "retain": data.retain, "holdout": data.holdout, "utility": data.utility}


def _length_problems(
    rows: Sequence[Example], template: Template, max_length: int, truncate: bool, name: str
) -> tuple[list[str], list[str], int]:
    """(problems, notes, tokens of the longest row)."""
    done = template.attempt([(r.prompt, r.answer) for r in rows])
    problems = [f"{_where(name, i, rows[i])} — {e}" for i, e in enumerate(done) if isinstance(e, str)]
    sizes = [(len(e), i) for i, e in enumerate(done) if isinstance(e, Encoded)]
    worst = sorted((s for s in sizes if s[0] > max_length), key=lambda s: (-s[0], s[1]))
    longest = max((s[0] for s in sizes), default=0)
    notes = []
    if worst:
        shown = ", ".join(f"{_where(name, i, rows[i])} needs {size}" for size, i in worst[:_SHOWN])
        more = ", …" if len(worst) > _SHOWN else ""
        cut = f"{len(worst)} of {len(rows)} {name} answers {{}} cut at {max_length} tokens ({shown}{more})"
        if truncate:
            notes.append(cut.format("are"))
        else:
            problems.append(cut.format("would be"))
    bare = [i for i, e in enumerate(done) if isinstance(e, Encoded) and e.answer_start >= max_length]
    if bare and truncate:
        where = ", ".join(_where(name, i, rows[i]) for i in bare[:_SHOWN])
        problems.append(
            f"{len(bare)} of {len(rows)} {name} prompts alone fill {max_length} tokens and leave no answer "
            f"({where}{', …' if len(bare) > _SHOWN else ''}) — shorten them, or raise the limit"
        )
    return problems, notes, longest


def _length_hint(need: int, max_length: int) -> str:
    if need <= max_length:
        return "correct these rows, or leave them out"
    return f"data.max_length={need} keeps all of it; data.truncate=true allows the cut"


def _row_problems(name: str, rows: Sequence[Example]) -> Iterable[str]:
    for i, row in enumerate(rows):
        where = _where(name, i, row)
        if not row.answer.strip():
            what = "only whitespace" if row.answer else "empty"
            yield f"{where} — the answer is {what} — write it, or take the row out"
        elif row.prompt and normal(row.question) == normal(row.answer):
            yield f"{where} — question and answer are the same text — write the answer"
        if isinstance(row.prompt, str):
            if row.prompt and not row.prompt.strip():
                yield f"{where} — the question is only whitespace — write it, or use `text`"
        elif not row.prompt or any(not m.content.strip() for m in row.prompt):
            yield f"{where} — the conversation has an empty turn — write it, or take the row out"


def _twice(name: str, rows: Sequence[Example]) -> Iterable[str]:
    first: dict[tuple[str, str], int] = {}
    named: dict[str, int] = {}
    for i, row in enumerate(rows):
        at = first.setdefault(same_key(row), i)
        if at != i:
            yield f"{_where(name, i, row)} — says the same as {_where(name, at, rows[at])} — keep one"
            continue
        at = named.setdefault(row.id, i)
        if at != i:
            yield f"{_where(name, i, row)} — has the id of {_where(name, at, rows[at])} — give each row its own"


def _clashing_ids(lists: Mapping[str, Sequence[Example]]) -> Iterable[str]:
    """One id for different rows of two lists: numbers kept by id would be taken from the wrong row."""
    seen: dict[str, tuple[str, int, Example]] = {}
    for name, rows in lists.items():
        for i, row in enumerate(rows):
            other, at, twin = seen.setdefault(row.id, (name, i, row))
            if other != name and same_key(twin) != same_key(row):
                yield f"{_where(name, i, row)} — has the id of {_where(other, at, twin)} — give each row its own"


def _shared(one: str, rows: Sequence[Example], other: str, others: Sequence[Example]) -> Iterable[str]:
    known = {same_key(r): i for i, r in reversed(list(enumerate(rows)))}
    pairs = [(known[k], j) for j, row in enumerate(others) if (k := same_key(row)) in known]
    for i, j in pairs:
        yield (
            f"{_where(other, j, others[j])} — is also in {one} ({_where(one, i, rows[i])}) — "
            f"a row cannot be in {one} and {other}: take it out of one ({_count(len(pairs), 'row')} shared)"
        )


def _two_answers(lists: Mapping[str, Sequence[Example]]) -> Iterable[str]:
    """Notes on questions with different answers: within the one list given, or between the two."""
    first: dict[str, tuple[str, int, Example]] = {}
    found = []
    for name, rows in lists.items():
        for i, row in enumerate(rows):
            if not row.prompt:
                continue
            other, at, twin = first.setdefault(_prompt_key(row), (name, i, row))
            if normal(twin.answer) != normal(row.answer) and (len(lists) == 1 or other != name):
                found.append(f"{_where(other, at, twin)} and {_where(name, i, row)}")
    if found:
        where = "; ".join(found[:_SHOWN]) + ("; …" if len(found) > _SHOWN else "")
        yield f"{' and '.join(lists)}: {_count(len(found), 'question')} asked again with another answer ({where})"


def _prompt_key(row: Example) -> str:
    if isinstance(row.prompt, str):
        return normal(row.prompt)
    return normal("\n".join(f"{m.role}: {m.content}" for m in row.prompt))


def _where(name: str, index: int, row: Example) -> str:
    """``file:line`` where the reader noted it, else ``forget row 3``. Never the row's own words."""
    source = row.meta.get("source")
    return source if isinstance(source, str) and _SOURCE.fullmatch(source) else f"{name} row {index + 1}"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"
