"""An import as a run folder: nothing is written before everything is known, and nothing of the user's is replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..data.example import Example, rows_fingerprint
from ..errors import RunError
from ..metrics.score import Score
from ..report.report import write_report
from ..runs import atomic, manifest
from ..runs.manifest import DataRecord, Manifest, ModelRecord
from ..scoring import score_row

Scores = Mapping[str, Mapping[str, Score]]
"""Tag → metric id → score."""


@dataclass(frozen=True)
class Imported:
    """What an import found, ready to be written."""

    name: str
    about: Mapping[str, Any]
    """benchmark.json."""
    scores: Scores
    models: Mapping[str, ModelRecord]
    """By tag."""
    rows: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    """By split."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Split → what its rows are called where they come from."""
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Tag → example id → text."""
    notes: Sequence[str] = ()


def choose(out: Path | str | None, name: str, overwrite: bool) -> Path:
    """The folder to write to, which is free: `out`, or ``runs/import-<name>``.

    Raises:
        RunError: it holds something.
    """
    folder = Path(out).expanduser() if out is not None else Path("runs") / f"import-{name}"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not folder.is_dir():
        raise RunError(f"{folder} is a file, expected a folder", "give another folder with --out")
    if not (folder / "manifest.json").is_file() or (folder / "plan.yaml").exists():
        raise RunError(f"{folder} holds something that is no import; it is left alone", "give another one with --out")
    if not overwrite:
        raise RunError(f"{folder} exists already", "give another folder with --out, or --overwrite to replace it")
    return folder


def write(folder: Path, found: Imported, command: Sequence[str]) -> Path:
    """Write scores.json, samples.jsonl, the manifest and the report; a new folder is there as a whole or not at all.

    Raises:
        ResourceError: the disk is full or failed.
    """
    with _whole(folder):
        atomic.write_json(folder / "benchmark.json", found.about)
        rows = [score_row(tag, name, score) for tag, by in found.scores.items() for name, score in by.items()]
        atomic.write_json(folder / "scores.json", rows)
        atomic.write_jsonl(folder / "samples.jsonl", samples(found))
        made = Manifest(f"import {found.name}", "", list(command), datetime.now(UTC).isoformat(timespec="seconds"), 0)
        made.packages, made.machine, made.git = manifest.packages(), manifest.machine(), manifest.git()
        made.status, made.models, made.notes = "done", dict(found.models), list(found.notes)
        made.data = {
            split: DataRecord(len(rows), rows_fingerprint(rows), found.sources.get(split, ""))
            for split, rows in found.rows.items()
        }
        made.save(folder)
        write_report(folder)
    return folder


def samples(found: Imported) -> list[dict[str, Any]]:
    """Rows of samples.jsonl: every example with every model's answer and scores. No id stands in two splits."""
    names = list(dict.fromkeys(name for by in found.scores.values() for name in by))
    rows = []
    for split, examples in found.rows.items():
        for row in examples:
            values = {
                name: {
                    tag: by[name].per_example[row.id]
                    for tag, by in found.scores.items()
                    if name in by and row.id in by[name].per_example
                }
                for name in names
            }
            rows.append(
                {
                    "id": row.id,
                    "split": split,
                    "entity": row.entity,
                    "prompt": row.question,
                    "target": row.answer,
                    "answers": {tag: texts[row.id] for tag, texts in found.answers.items() if row.id in texts},
                    "scores": {name: by for name, by in values.items() if by},
                }
            )
    return rows


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    fresh = not folder.exists()
    try:
        yield
    except BaseException:
        if fresh and folder.exists():
            atomic.discard(folder)
        raise
