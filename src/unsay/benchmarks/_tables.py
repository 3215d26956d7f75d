"""Files of published benchmarks: from a folder or from the hub, with what is missing said in one error."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from ..data.checks import same_key
from ..data.example import Example
from ..data.read_hub import hub_rows
from ..data.strict import READERS, Raw, raw_rows, show, value_problems
from ..errors import DataError

Row = Mapping[str, Any]
_WORD = re.compile(r"\s*\S+")


def find_folder(name: str, path: str | None, hint: str) -> Path | None:
    """Where a benchmark's files are: `path`, else ``$UNSAY_DATA/<name>`` where that is a folder, else None.

    Raises:
        DataError: `path` is no folder.
    """
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise DataError(f"benchmark.path={path}: no such folder", hint)
        return folder
    data = os.environ.get("UNSAY_DATA")
    known = Path(data).expanduser() / name if data else None
    return known if known is not None and known.is_dir() else None


def find_file(folder: Path, stem: str) -> Path | None:
    """The file called `stem` in any readable format, or what a copy of a hub repository calls it."""
    for ending in READERS:
        if (folder / f"{stem}{ending}").is_file():
            return folder / f"{stem}{ending}"
    shards = sorted(folder.glob(f"{stem}-*-of-*.parquet"))
    return shards[0] if shards else None


def read_table(
    folder: Path | None,
    stem: str,
    *,
    hub: str | None,
    fields: Sequence[str],
    hint: str,
    rows: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The rows of one file, each with all of `fields` as text.

    Args:
        folder: Where the files are; None reads `hub`.
        stem: Path below `folder` without its ending. A row that is a bare text becomes ``{"text": …}``.
        hub: ``org/name:config/split``; None when the hub does not have it.
        fields: Keys that every row has, with text that is not only whitespace.
        hint: How to get the file.
        rows: How many rows the published file has.
        limit: Read the first rows only.

    Raises:
        DataError: the file is missing, cannot be read, or is not what it should be; all problems at once.
    """
    name = stem.rpartition("/")[2]
    found: list[Row] = []
    problems: list[str] = []
    try:
        for raw in islice(_source(folder, stem, hub, hint), limit):
            value = {"text": raw.value} if isinstance(raw.value, str) else raw.value
            wrong = list(raw.problems)
            if not wrong and not isinstance(value, Mapping):
                wrong = ["the row is no object"]
            if not wrong:
                wrong = value_problems(value) + _lacking(value, fields)
            if wrong:
                problems += [f"{raw.where} — {what}" for what in wrong]
            else:
                found.append(value)
    except DataError as error:
        raise DataError(error.problems, hint) from error
    if rows is not None and len(found) + len(problems) != rows and (limit is None or limit >= rows):
        problems.insert(0, f"{name} has {len(found) + len(problems)} rows, expected {rows}")
    if not found and not problems:
        problems = [f"{name} has no rows"]
    if problems:
        raise DataError(problems, hint)
    return found


def text_rows(rows: Iterable[Row], name: str, words: int, *, entity: str = "") -> list[Example]:
    """The texts of `rows` as plain-text examples of at most `words` words.

    A longer text is cut into pieces of nearly equal length; a piece that repeats an earlier one is left out, since it
    would be the same training row twice. Ids read ``<name>.<row>.<piece>``, from 1.

    Args:
        rows: Rows with ``text``.
        name: First part of the ids.
        words: Most words of a piece.
        entity: Key of the rows that says whom they are about; "" when none does.
    """
    made = (
        Example(
            "",
            piece,
            id=f"{name}.{at}.{number}",
            meta={"source": name, **({"entity": str(row[entity])} if entity else {})},
        )
        for at, row in enumerate(rows, 1)
        for number, piece in enumerate(pieces(str(row["text"]), words), 1)
    )
    return distinct(made)


def pieces(text: str, words: int) -> list[str]:
    """`text` cut between words into the fewest pieces of at most `words` words, all nearly as long."""
    found = _WORD.findall(text)
    if not found:
        return []
    count = math.ceil(len(found) / words)
    edges = [round(i * len(found) / count) for i in range(count + 1)]
    return ["".join(found[a:b]).strip() for a, b in pairwise(edges)]


def distinct(rows: Iterable[Example], besides: Iterable[Example] = ()) -> list[Example]:
    """`rows` without those that repeat an earlier one, or one of `besides`."""
    seen = {same_key(row) for row in besides}
    kept = []
    for row in rows:
        key = same_key(row)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def _source(folder: Path | None, stem: str, hub: str | None, hint: str) -> Iterator[Raw]:
    if folder is None:
        if hub is None:
            raise DataError(f"{stem}: no folder was given, and the hub does not have it", hint)
        return hub_rows(hub)
    file = find_file(folder, stem)
    if file is None:
        raise DataError(f"{folder / stem}: no such file with ending {', '.join(READERS)}", hint)
    if file.suffix.lower() == ".json" and _is_lines(file):
        return READERS[".jsonl"](file)
    if "-of-" in file.stem:
        shards = sorted(file.parent.glob(f"{stem.rpartition('/')[2]}-*-of-*.parquet"))
        return (raw for shard in shards for raw in raw_rows(shard))
    return raw_rows(file)


def _is_lines(file: Path) -> bool:
    """Whether a .json file holds one object per line, as `datasets` writes and reads them."""
    with open(file, encoding="utf-8-sig", errors="replace") as handle:
        first = next((line.strip() for line in handle if line.strip()), "")
    return first.startswith("{") and first.endswith("}")


def _lacking(row: Row, fields: Sequence[str]) -> list[str]:
    bad = [key for key in fields if not isinstance(row.get(key), str) or not row[key].strip()]
    if not bad:
        return []
    keys = ", ".join(show(key) for key in list(row)[:8])
    return [f"no text under {', '.join(map(show, bad))} (the row has {keys or 'nothing'})"]
