"""The files of an open-unlearning evaluation, read and checked: ``*_EVAL.json`` with rows, ``*_SUMMARY.json`` without.

A metric is ``{"agg_value": number, "value_by_index": {index: {field: number or numbers, texts …}}}``; a membership
attack has ``forget`` and ``holdout`` instead, each with its own rows, beside the AUC.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..naming import digest, file_digest
from ..report.folder import TAGS

_HINT = "give the folder of one evaluation, with TOFU_EVAL.json or MUSE_EVAL.json as open-unlearning wrote it"
_DEPTH = 4
"""Levels of folders that are searched for evaluations."""
TEXTS = ("input", "ground_truth", "generation")

Fields = Mapping[str, float]
"""Numbers of one row by field, lists averaged as open-unlearning does."""


@dataclass(frozen=True)
class Entry:
    """One metric of one model."""

    value: float | None
    """As given; None where the file has none."""
    rows: Mapping[str, Mapping[str, Fields]]
    """Part → index → numbers. Parts: ``""``, or ``forget`` and ``holdout`` of a membership attack."""
    texts: Mapping[str, tuple[str, str, str]]
    """Index → prompt, right answer, generation."""
    entities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Part → index → whom the row is about, where the file says so (as our own exports do)."""
    note: str = ""
    """Why there is no value, if the file says so."""
    summary: bool = False
    """Only the summary has it."""


@dataclass(frozen=True)
class Evaluation:
    """One model's evaluation."""

    path: Path
    """Its folder."""
    name: str
    """tofu, muse, …: what its files are called."""
    fingerprint: str
    entries: Mapping[str, Entry]
    notes: tuple[str, ...] = ()


def find(path: Path | str) -> dict[str, Path]:
    """Tag → folder of the evaluations at `path`: its own (``after``), or its folders before, after, retrained.

    Raises:
        DataError: there is none, or it is not clear which one is meant.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return {"after": path}
    if not path.is_dir():
        raise DataError(f"{path} cannot be read: no such file or folder", _HINT)
    if _files(path):
        return {"after": path}
    tagged = {tag: path / tag for tag in TAGS if (path / tag).is_dir() and _files(path / tag)}
    if "after" in tagged:
        return tagged
    inside = sorted({p.parent for p in path.rglob("*_EVAL.json") if len(p.relative_to(path).parts) <= _DEPTH})
    if len(inside) == 1:
        return {"after": inside[0]}
    if inside:
        shown = ", ".join(str(p.relative_to(path)) for p in inside[:10])
        raise DataError(
            f"{path} holds {len(inside)} evaluations: {shown}",
            "name one of them, and those to compare it with by --before and --retrained",
        )
    raise DataError(f"{path} has no *_EVAL.json and no *_SUMMARY.json", _HINT)


def read_evaluation(path: Path) -> Evaluation:
    """Read the evaluation in a folder, or one of its files.

    Raises:
        DataError: the files cannot be read or are not what open-unlearning writes; with every problem.
    """
    files = [path] if path.is_file() else _files(path)
    if path.is_file() and path.name.endswith("_EVAL.json"):
        beside = path.with_name(path.name.removesuffix("_EVAL.json") + "_SUMMARY.json")
        files += [beside] if beside.is_file() else []
    if not files:
        raise DataError(f"{path} has no *_EVAL.json and no *_SUMMARY.json", _HINT)
    problems: list[str] = []
    entries: dict[str, Entry] = {}
    totals: dict[str, float] = {}
    skipped: list[str] = []
    for file in files:
        content = _json(file, problems)
        for name, given in content.items():
            where = f"{file}: {name}"
            if file.name.endswith("_SUMMARY.json"):
                if given is not None and not _is_number(given):
                    problems.append(f"{where} is not a number")
                elif name in totals and totals[name] != given:
                    problems.append(f"{where} stands in two summaries with different values")
                elif given is not None:
                    totals[name] = float(given)
            elif not isinstance(given, dict):
                problems.append(f"{where} is not a table with agg_value and value_by_index")
            elif name in entries:
                problems.append(f"{where} stands in two files of the folder: give one of them instead of the folder")
            elif (entry := _entry(given, where, problems)) is not None:
                entries[name] = entry
            else:
                skipped.append(name)
    if problems:
        raise DataError(problems, _HINT)
    notes = _settle(entries, totals)
    left = [name for name in skipped if name not in entries]
    if left:
        notes.append(f"left out, as they hold neither a value nor rows: {', '.join(sorted(left))}")
    if not entries:
        raise DataError(f"{path} holds no metric", _HINT)
    prefix = files[0].name.rpartition("_")[0]
    return Evaluation(path, prefix.lower(), digest([[f.name, file_digest(f)] for f in files]), entries, tuple(notes))


def _files(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("*_EVAL.json")), *sorted(folder.glob("*_SUMMARY.json"))]


def _json(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror or error}")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{file} is not JSON: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{file} is not a table of metrics")
        return {}
    return content


def _settle(entries: dict[str, Entry], totals: Mapping[str, float]) -> list[str]:
    """Add what only the summary has; say where it contradicts."""
    notes = []
    for name, value in totals.items():
        own = entries.get(name)
        if own is None:
            entries[name] = Entry(value, {}, {}, summary=True)
        elif own.value is not None and not math.isclose(own.value, value, rel_tol=1e-9, abs_tol=1e-12):
            notes.append(f"the summary has {value:g} for {name}, the rows' file {own.value:g}: the latter is shown")
    return notes


def _entry(given: Mapping[str, Any], where: str, problems: list[str]) -> Entry | None:
    """One metric; None where there is nothing in it to import."""
    if not {"agg_value", "value_by_index", "auc"} & given.keys():
        return None
    value = given.get("agg_value", given.get("auc"))
    if value is not None and not _is_number(value):
        problems.append(f"{where}: agg_value is not a number")
        return None
    rows: dict[str, dict[str, Fields]] = {}
    texts: dict[str, tuple[str, str, str]] = {}
    entities: dict[str, dict[str, str]] = {}
    for part in ("", "forget", "holdout"):
        holder = given if part == "" else given.get(part)
        if not isinstance(holder, Mapping) or "value_by_index" not in holder:
            continue
        table = holder["value_by_index"]
        if not isinstance(table, dict):
            problems.append(f"{where}: value_by_index is not a table of rows")
            continue
        found: dict[str, Fields] = {}
        for index, row in table.items():
            fields = {"score": row} if _is_number(row) else {} if row is None else row
            if not isinstance(fields, dict):
                problems.append(f"{where}: row {index} is neither a table nor a number")
                break
            numbers = {key: mean for key, item in fields.items() if (mean := _mean(item)) is not None}
            if numbers:
                found[str(index)] = numbers
            if all(isinstance(fields.get(key), str) for key in TEXTS):
                texts[str(index)] = tuple(fields[key] for key in TEXTS)  # type: ignore[assignment]
            if isinstance(fields.get("entity"), str):
                entities.setdefault(part, {})[str(index)] = fields["entity"]
        rows[part] = found
    note = given.get("note")
    return Entry(None if value is None else float(value), rows, texts, entities, note if isinstance(note, str) else "")


def _mean(item: Any) -> float | None:
    """A number, or the mean of a list of numbers; None for anything else."""
    if _is_number(item):
        return float(item)
    if isinstance(item, list) and item and all(map(_is_number, item)):
        return float(sum(item) / len(item))
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
