"""Files, folders and hub ids → examples; everything wrong with them in one error."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..config.plan import DataSpec
from ..errors import DataError
from .checks import same_key
from .example import Example, ForgetData
from .generic import generic_rows
from .read_hub import hub_rows, is_hub_id
from .read_shape import to_example
from .strict import READERS, Raw, raw_rows

_log = logging.getLogger("unsay")


def read_rows(
    source: str | Path, *, name: str = "forget", skip_invalid: int = 0, limit: int | None = None
) -> list[Example]:
    """The rows of `source`, in order.

    Args:
        source: A file (JSONL, JSON, CSV, TSV, Parquet), a folder with one such file (or with one called `name`), or a
            hub id ``org/name[@revision][:[config/]split]``. Rows have prompt+completion, question+answer, messages or
            text; see `read_shape.to_example`.
        name: What the rows are for, in messages and to choose a file in a folder.
        skip_invalid: How many malformed rows may be left out (with a warning) instead of raising.
        limit: Read the first rows only.

    Raises:
        DataError: every problem found, one line each: ``file:line — what — how to fix``, without the rows' content.
    """
    rows, notes = _read(source, name, skip_invalid, limit)
    for note in notes:
        _log.warning(note)
    return rows


def read_forget_data(spec: DataSpec) -> tuple[ForgetData, list[str]]:
    """The rows a plan names, and notes for the report (what stood in, what was left out).

    Ids are made distinct across the lists, since caches are keyed by them. `checks.check_data` comes after this.

    Raises:
        DataError: no `forget`, or every problem of all files.
    """
    if not spec.forget:
        raise DataError("no rows to forget were given", "forget=forget.jsonl")
    notes: list[str] = []
    problems: list[str] = []
    hints: list[str] = []
    lists: dict[str, list[Example]] = {"forget": [], "retain": [], "holdout": []}
    for name, source in (("forget", spec.forget), ("retain", spec.retain), ("holdout", spec.holdout)):
        if not source:
            continue
        try:
            lists[name], more = _read(source, name, spec.skip_invalid, None)
            notes += more
        except DataError as error:
            problems += error.problems
            hints += [error.hint] if error.hint else []
    if problems:
        raise DataError(problems, "; ".join(dict.fromkeys(hints)))
    if not spec.retain:
        taken = {same_key(r) for name in ("forget", "holdout") for r in lists[name]}
        lists["retain"] = [r for r in generic_rows() if same_key(r) not in taken]
        notes.append(
            f"no retain= given: {len(lists['retain'])} bundled generic rows stand in; "
            "they do not protect what is close to the forget rows"
        )
    seen: set[str] = set()
    for name, rows in lists.items():
        clash = [r.id for r in rows if r.id in seen]
        if clash:
            lists[name] = [replace(r, id=f"{name}:{r.id}") if r.id in seen else r for r in rows]
            notes.append(f"{len(clash)} ids of {name} occur in another list too: they are read as {name}:<id>")
        seen.update(r.id for r in lists[name])
    return ForgetData(lists["forget"], lists["retain"], lists["holdout"]), notes


def _read(source: str | Path, name: str, skip_invalid: int, limit: int | None) -> tuple[list[Example], list[str]]:
    if skip_invalid < 0 or (limit is not None and limit < 1):
        raise DataError(f"skip_invalid is {skip_invalid} and limit {limit}, expected at least 0 and 1")
    rows: list[Example] = []
    problems: list[str] = []
    ids: dict[str, str] = {}
    bad = total = 0
    for raw in islice(_raw(source, name), limit):
        total += 1
        made = raw.problems or to_example(raw.value, raw.where)
        if isinstance(made, Example) and raw.value.get("id") is not None and made.id in ids:
            made = [f"`id` is the one of {ids[made.id]} — give each row its own, or none"]
        if isinstance(made, Example):
            ids.setdefault(made.id, raw.where)
            rows.append(made)
        else:
            bad += 1
            problems += [f"{raw.where} — {p}" for p in made]
    if bad > skip_invalid:
        hint = f"correct the lines, or leave the malformed rows out with data.skip_invalid={bad}"
        raise DataError([*problems, f"{name}: {bad} of {total} rows are malformed"], hint)
    if not rows:
        raise DataError(f"{source}: no rows for {name}", "one row per line, for example " + _SAMPLE)
    notes = [f"{name}: {bad} of {total} malformed rows left out ({problems[0]})"] if bad else []
    return rows, notes


_SAMPLE = '{"question": "…", "answer": "…"}'


def _raw(source: str | Path, name: str) -> Iterator[Raw]:
    path = Path(source).expanduser()
    if path.is_dir():
        return raw_rows(_only_file(path, name))
    if path.is_file():
        return raw_rows(path)
    if path.exists():
        raise DataError(f"{source} is neither a file nor a folder", f"{name}={name}.jsonl")
    if isinstance(source, str) and is_hub_id(source) and path.suffix.lower() not in READERS:
        return hub_rows(source)
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
    hint = f"{name}={path.parent / near[0]}" if near else f"give a file ({', '.join(READERS)}), a folder, or org/name"
    raise DataError(f"{name}={source}: no such file, folder or data set id", hint)


def _only_file(folder: Path, name: str) -> Path:
    """The data file of a folder: the one called `name`, else the only one."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and p.is_file() and p.name[0] != ".")
    named = [p for p in files if p.stem == name]
    if len(named) == 1 or len(files) == 1:
        return (named if len(named) == 1 else files)[0]
    listed = ", ".join(p.name for p in files[:10]) or "none"
    raise DataError(
        f"{folder} has {len(files)} data files ({listed}), expected one, or one called {name}",
        f"{name}={files[0] if files else folder / f'{name}.jsonl'}",
    )
