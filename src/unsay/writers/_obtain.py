"""From a writer to texts that a method can train on: checked, counted, complete, and kept for the next time."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.decode import encode
from ..data.example import Example, rows_fingerprint
from ..errors import DataError, PlanError
from ..naming import derive_seed, digest, file_digest
from ..registry import name_of
from ..runs import atomic
from ._gate import fault
from ._prompts import check_role
from ._protocol import Writer
from .templates import Templates

if TYPE_CHECKING:
    from ..runs.run import Run

FILE = "writings.jsonl"
_VERSION = 1
"""Raise it when the same settings and rows would come out as other texts."""
_CHUNK = 100
"""Rows given to a writer at once; what is finished is kept when the run is stopped or killed in between."""


def obtain(
    writer: Writer, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
) -> list[tuple[str, ...]]:
    """Exactly `count` different texts for each of `rows`.

    A row's own texts under ``alternatives[role]`` come first, then the writer's, then those of `Templates`; all go
    through `_gate.fault`. The outcome is written to ``writings.jsonl`` in the run's folder, one line a row: ``id``,
    ``role``, ``texts``, ``writer`` (its settings), ``counts`` (texts by source, and rejected ones by reason) and
    ``key`` (a hash of what the texts depend on). A later call with the same keys reads them from there.

    Args:
        writer: The back-end to ask.
        rows: What to write for; ids must be unique among different rows.
        role: ``refusal`` or ``alternative``.
        count: Texts for each row.
        run: Folder, seed, progress.
        others: Rows that texts may be drawn from besides `rows`: the retain rows.

    Returns:
        One tuple for each row, in order.

    Raises:
        PlanError: unknown role, or `count` below 1.
        DataError: some rows have too few texts in spite of all; names them.
        UnsayError: whatever the back-end raises.
    """
    check_role(role)
    if count < 1:
        raise PlanError(f"{count} texts for each row, expected at least 1", "write a positive number")
    path = run.path(FILE)
    lines = read_lines(path)
    keys = keys_of(writer, rows, role, count, run, others)
    done = {line["key"] for line in lines}
    todo = list({row.id: row for row in rows if keys[row.id] not in done}.values())
    with run.progress(f"write: {role}", len(todo), "rows") as task:
        for at in range(0, len(todo), _CHUNK):
            run.check_stop()
            chunk = todo[at : at + _CHUNK]
            for line in _written(writer, chunk, role, count, run, (*rows, *others)):
                lines.append(line | {"key": keys[line["id"]]})
            atomic.write_jsonl(path, lines)
            task.advance(len(chunk))
    found = {line["key"]: line for line in lines}
    mine = {row.id: found[keys[row.id]] for row in rows}
    if todo:
        _tell(writer, mine.values(), role, run)
    return [tuple(mine[row.id]["texts"]) for row in rows]


def _written(
    writer: Writer, rows: Sequence[Example], role: str, count: int, run: Run, pool: Sequence[Example]
) -> list[dict[str, Any]]:
    """The lines of `rows`, without their keys."""
    picks = {row.id: _Pick(row, role, count) for row in rows}
    for pick in picks.values():
        own = pick.row.answers(role)
        first = derive_seed(run.seed, role, pick.row.id) % len(own) if own else 0
        pick.take("own", (*own[first:], *own[:first]))
    sources = [("written", writer)] + ([("templates", Templates())] if not isinstance(writer, Templates) else [])
    for source, back_end in sources:
        lacking = [pick.row for pick in picks.values() if pick.lacks]
        if lacking:
            texts = back_end.write(lacking, role, count, run, others=pool)
            for row in lacking:
                picks[row.id].take(source, texts.get(row.id, ()))
    poor = [pick for pick in picks.values() if pick.lacks]
    if poor:
        raise DataError(
            [f"row {p.row.id}{_where(p.row)}: {len(p.texts)} of {count} {role} texts ({p.why()})" for p in poor],
            f"write {count} texts under alternatives.{role} in these rows, give more retain rows, or ask for fewer",
        )
    about = told(writer)
    return [
        {"id": p.row.id, "role": role, "texts": p.texts, "writer": about, "counts": p.counts()} for p in picks.values()
    ]


def told(writer: Writer) -> dict[str, Any]:
    """A writer's name and settings, for the files."""
    about: dict[str, Any] = encode(writer)
    return about if "name" in about else {"name": type(writer).__name__, **about}


class _Pick:
    """The texts of one row as they come in."""

    def __init__(self, row: Example, role: str, count: int):
        self.row, self.role, self.count = row, role, count
        self.texts: list[str] = []
        self.sources: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    @property
    def lacks(self) -> int:
        return self.count - len(self.texts)

    def take(self, source: str, candidates: Iterable[str]) -> None:
        for text in candidates:
            if not self.lacks:
                return
            text = text.strip()
            reason = fault(self.row, self.role, text, self.texts)
            if reason:
                self.rejected[reason] += 1
            else:
                self.texts.append(text)
                self.sources[source] += 1

    def counts(self) -> dict[str, Any]:
        return {**self.sources, "rejected": dict(self.rejected)}

    def why(self) -> str:
        return ", ".join(f"{n} rejected: {reason}" for reason, n in self.rejected.items()) or "none was written"


def keys_of(
    writer: Writer, rows: Sequence[Example], role: str, count: int, run: Run, others: Sequence[Example]
) -> dict[str, str]:
    """Row id → hash of everything its texts depend on."""
    settings: dict[str, Any] = {}
    if dataclasses.is_dataclass(writer) and not isinstance(writer, type):
        settings = dataclasses.asdict(writer)
    name = name_of(type(writer)) or type(writer).__qualname__
    # A file that a setting names counts by its content, wherever it lies.
    parts = [_VERSION, name, settings | named_files(settings), role, count, run.seed]
    common = digest([*parts, rows_fingerprint(rows), rows_fingerprint(others)])
    return {row.id: digest([common, rows_fingerprint([row])]) for row in rows}


def named_files(settings: Any, at: str = "") -> dict[str, str]:
    """Hashes of the files that `settings` name: setting, dotted where one is inside another, → hash of its content.

    A folder with writings, as `Replay` takes it, counts by its ``writings.jsonl``.

    Args:
        settings: Plain values, nested as plans are.
        at: Where they stand in the whole.
    """
    if isinstance(settings, Mapping):
        parts = [named_files(value, f"{at}.{key}" if at else str(key)) for key, value in settings.items()]
    elif isinstance(settings, (list, tuple)):
        parts = [named_files(value, f"{at}.{number}") for number, value in enumerate(settings)]
    else:
        path = _file(settings) if isinstance(settings, str) else None
        return {} if path is None else {at: file_digest(path)}
    return {key: value for part in parts for key, value in part.items()}


def _file(name: str) -> Path | None:
    """The file that `name` means, if there is one."""
    given = os.path.expanduser(name)
    found = os.path.join(given, FILE) if os.path.isdir(given) else given
    return Path(found) if os.path.isfile(found) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of an earlier call. The file is written in one step, so what cannot be read is not ours: start over."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (FileNotFoundError, ValueError):
        return []
    return [line for line in lines if isinstance(line, dict) and {"id", "texts", "key", "counts"} <= line.keys()]


def _tell(writer: Writer, lines: Iterable[Mapping[str, Any]], role: str, run: Run) -> None:
    """What the reader of the results should know."""
    lines = list(lines)
    rejected: Counter[str] = sum((Counter(line["counts"]["rejected"]) for line in lines), Counter())
    run.log(role=role, rows=len(lines), rejected=dict(rejected))
    filled = sum(bool(line["counts"].get("templates")) for line in lines)
    if filled:
        reasons = ", ".join(f"{n} {reason}" for reason, n in rejected.most_common()) or "it wrote too few"
        name = name_of(type(writer)) or type(writer).__name__
        run.note(
            f"{filled} of {len(lines)} rows have {role} texts of the template writer in place of {name}'s ({reasons})"
        )


def _where(row: Example) -> str:
    return f" ({row.meta['source']})" if row.meta.get("source") else ""
