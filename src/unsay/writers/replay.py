"""Texts that an earlier run wrote, read from its ``writings.jsonl``: the same texts for every method, seed and machine.

The file is what `obtain` leaves in a run's folder; of each line, ``id``, ``role`` and ``texts`` are read. Rows that it
lacks get template texts, and the run says how many.

Limits: rows are matched by id, so a row whose question or answer was edited since is another row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.example import Example
from ..errors import DataError, PlanError

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Reads what was written before."""

    path: str
    """A writings.jsonl, or the folder of the run that has it."""

    def __post_init__(self) -> None:
        if not self.path:
            raise PlanError("path: is empty", "give a run folder or its writings.jsonl")

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """See `Writer.write`.

        Raises:
            DataError: the file is missing or is not such a file, or it has no text in this role for any of `rows`.
        """
        path = Path(self.path).expanduser()
        path = path / "writings.jsonl" if path.is_dir() else path
        wanted = {row.id for row in rows}
        found: dict[str, tuple[str, ...]] = {}
        for line in _lines(path):
            if line["role"] == role and line["id"] in wanted:
                found[line["id"]] = (*found.get(line["id"], ()), *line["texts"])
        if rows and not found:
            raise DataError(
                f"{path} has no {role} texts for any of the {len(rows)} rows asked about",
                "give the file of a run on the same rows with a method that wrote them",
            )
        return found


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason}", "give a run folder or its writings.jsonl") from None
    lines, problems = [], []
    for number, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
        except ValueError:
            problems.append(f"{path}:{number}: not JSON")
            continue
        if not _is_writing(line):
            problems.append(f"{path}:{number}: expected id and role as texts, and texts as a list of texts")
        lines.append(line)
    if problems:
        raise DataError(problems, "one JSON object a line, as in a run's writings.jsonl")
    return lines


def _is_writing(line: Any) -> bool:
    return (
        isinstance(line, dict)
        and isinstance(line.get("id"), str)
        and isinstance(line.get("role"), str)
        and isinstance(line.get("texts"), list)
        and all(isinstance(text, str) for text in line["texts"])
    )
