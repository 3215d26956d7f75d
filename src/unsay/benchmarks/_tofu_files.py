"""TOFU's files, checked: from a folder or from the hub, every row with its author."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ..data.example import Example
from ..data.read import read_rows
from ..errors import DataError

HUB = "locuslab/TOFU"
AUTHOR = 20
"""Consecutive rows about one author in `full`."""
COUNTS = {
    "full": 4000,
    "forget01": 40,
    "forget05": 200,
    "forget10": 400,
    "retain99": 3960,
    "retain95": 3800,
    "retain90": 3600,
    "forget01_perturbed": 40,
    "forget05_perturbed": 200,
    "forget10_perturbed": 400,
    "retain_perturbed": 400,
    "real_authors_perturbed": 100,
    "world_facts_perturbed": 117,
}
_REWORDED = ("paraphrased", "paraphrased_question", "perturbed")
_FIELDS = {
    "forget01_perturbed": _REWORDED,
    "forget05_perturbed": _REWORDED,
    "forget10_perturbed": _REWORDED,
    "retain_perturbed": _REWORDED,
    "real_authors_perturbed": ("perturbed",),
    "world_facts_perturbed": ("perturbed",),
}
_KEYS = {"paraphrased": "paraphrased_answer", "perturbed": "perturbed_answer"}


class TofuFiles:
    """The files of one place, each read once.

    Args:
        path: A folder with ``forget01.jsonl`` and so on; None is ``$UNSAY_DATA/tofu`` where that is a folder, else the
            hub.

    Raises:
        DataError: `path` is no folder.
    """

    def __init__(self, path: str | None):
        data = os.environ.get("UNSAY_DATA")
        known = Path(data).expanduser() / "tofu" if data else None
        if path is not None:
            self.folder: Path | None = Path(path).expanduser()
            if not self.folder.is_dir():
                raise DataError(f"benchmark.path={path}: no such folder", _HINT)
        else:
            self.folder = known if known is not None and known.is_dir() else None

    def rows(self, name: str) -> tuple[Example, ...]:
        """The rows of a file of `COUNTS`, in order; ``meta["entity"]`` is the author where there is one.

        Raises:
            DataError: the file is missing, or has another number of rows or other fields than TOFU's.
        """
        return _rows(self.folder, name)

    def reworded(self, name: str) -> tuple[Example, ...]:
        """The rows of forget01, forget05 or forget10 with their paraphrased and perturbed answers.

        Raises:
            DataError: as `rows`; or a row of the one file is not in the other.
        """
        plain, reworded = self.rows(name), {row.id: row for row in self.rows(f"{name}_perturbed")}
        lost = [
            f"{name} row {i} is not in {name}_perturbed" for i, row in enumerate(plain, 1) if row.id not in reworded
        ]
        if lost:
            raise DataError(lost, _HINT)
        return tuple(reworded[row.id] for row in plain)


_HINT = "benchmark.path=FOLDER with TOFU's files as JSON lines (forget01.jsonl, …), or UNSAY_DATA=its parent folder"


@lru_cache(maxsize=64)
def _rows(folder: Path | None, name: str) -> tuple[Example, ...]:
    rows = _read(folder, name)
    problems = _problems(name, rows)
    if problems:
        raise DataError(problems, _HINT)
    if name in ("real_authors_perturbed", "world_facts_perturbed"):
        return tuple(_about(row, "", name) for row in rows)
    authors = _authors(folder) if name != "full" else _by_position(rows)
    strangers = [f"{name} row {i} is not in full" for i, row in enumerate(rows, 1) if row.id not in authors]
    if strangers:
        raise DataError(strangers, _HINT)
    return tuple(_about(row, authors[row.id], name) for row in rows)


def _read(folder: Path | None, name: str) -> Sequence[Example]:
    if folder is None:
        try:
            return read_rows(f"{HUB}:{name}/train", name=name)
        except DataError as error:
            raise DataError(error.problems, _HINT) from error
    file = folder / f"{name}.jsonl"
    if not file.is_file():
        raise DataError(f"{file}: no such file, expected {COUNTS[name]} rows of TOFU's {name}", _HINT)
    return read_rows(file, name=name)


def _problems(name: str, rows: Sequence[Example]) -> list[str]:
    """What makes `rows` another file than TOFU's `name`."""
    found = []
    if len(rows) != COUNTS[name]:
        found.append(f"{name} has {len(rows)} rows, expected {COUNTS[name]}")
    for kind in _FIELDS.get(name, ()):
        lacking = [i for i, row in enumerate(rows, 1) if not row.answers(kind)]
        if lacking:
            shown = ", ".join(map(str, lacking[:5])) + (", …" if len(lacking) > 5 else "")
            found.append(f"{name}: {len(lacking)} rows have no {_KEYS.get(kind, kind)} (row {shown})")
    twice = [row_id for row_id, n in Counter(row.id for row in rows).items() if n > 1]
    if twice:
        found.append(f"{name} has {len(twice)} rows twice")
    return found


def _authors(folder: Path | None) -> Mapping[str, str]:
    return {row.id: row.entity for row in _rows(folder, "full")}


def _by_position(rows: Sequence[Example]) -> Mapping[str, str]:
    return {row.id: f"author-{i // AUTHOR + 1:03d}" for i, row in enumerate(rows)}


def _about(row: Example, author: str, name: str) -> Example:
    meta = {"source": f"tofu/{name}", **({"entity": author} if author else {})}
    return replace(row, meta=meta)
