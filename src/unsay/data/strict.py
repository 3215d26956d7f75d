"""Files → raw rows, refusing what loaders usually let through: duplicate keys, NaN, broken UTF-8, short CSV lines.

Every problem is kept with its row, so that one run shows them all. Messages name keys, lengths and columns and never
quote what a row says: forget sets are the very data that must not end up in logs.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError

MAX_LINE = 16 * 2**20
"""Bytes of one row."""
MAX_DEPTH = 32
"""Nested lists and objects."""

_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
_MAGIC = {
    b"PAR1": "a Parquet file: call it .parquet",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


@dataclass
class Raw:
    """One row as the file has it, with what is wrong with it ("what — how to fix", no content)."""

    where: str
    """``file:line``, or ``file:row n`` where a format has no lines."""
    value: Any = None
    problems: list[str] = field(default_factory=list)


def show(name: object) -> str:
    """A key's name, made short and printable."""
    text = repr(str(name))
    return text if len(text) <= 42 else f"{text[:40]}…'"


def raw_rows(path: Path) -> Iterator[Raw]:
    """The rows of a JSONL, JSON, CSV, TSV or Parquet file, told apart by the name's ending.

    Raises:
        DataError: the file as a whole cannot be read: missing, empty, unknown ending, another format, broken table.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path.name} — cannot tell its format from its name — expected {', '.join(READERS)}", f"rename {path.name}"
        )
    try:
        with open(path, "rb") as handle:
            head = handle.read(4)
        if not head:
            raise DataError(f"{path.name} — the file is empty — expected one row per line", "check how it was written")
        for magic, what in _MAGIC.items():
            if head.startswith(magic) and path.suffix.lower() != ".parquet":
                raise DataError(f"{path.name} — the file is {what}")
        yield from reader(path)
    except OSError as error:
        raise DataError(f"{path.name} — cannot be read: {error.strerror or type(error).__name__}") from error


def value_problems(value: Any) -> list[str]:
    """What no row may hold anywhere: NUL, lone surrogates, numbers that are not finite, pictures and other objects."""
    found: set[str] = set()
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            for bad in set(_BAD_TEXT.findall(item)):
                found.add(
                    "holds a NUL character — remove it"
                    if bad == "\x00"
                    else "holds half of a surrogate pair, which is no character — write the character itself in UTF-8"
                )
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            found.add("holds NaN or Infinity — use null or a number")
        elif not (item is None or isinstance(item, (int, float))):
            found.add(f"holds {type(item).__name__}, which is no text, number, list or object — store it as text")
    return sorted(found)


def plain_value(value: Any) -> Any:
    """A table's cell as JSON types: dates and decimals become the text that stands for them."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (datetime.timedelta, decimal.Decimal)):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(v) for v in value]
    return value


class _Json:
    """A JSON decoder that notes duplicate keys and non-finite numbers instead of passing them on."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._float
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            names = [k for k, _ in pairs]
            twice = sorted({k for k in names if names.count(k) > 1})
            self.problems.append(f"key {', '.join(map(show, twice[:3]))} is given twice — keep one")
        return out

    def _constant(self, name: str) -> None:
        self.problems.append(f"holds {name}, which is not JSON — use null or a number")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self.problems.append("holds a number too large to keep — write it as text")
            return 0.0
        return value

    def value(self, text: str, at: int) -> tuple[Any, int]:
        """The value that starts at `at`, and where it ends.

        Raises:
            ValueError: no JSON; `args[0]` says what is wrong, and at which line and column of `text`.
        """
        try:
            return self.decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
            raise ValueError(f"not valid JSON: {error.msg.removesuffix(' at').rstrip(': ')} at {place}") from error
        except RecursionError as error:
            raise ValueError(_DEEP) from error
        except ValueError as error:  # Python refuses to read integers of more than 4,300 digits
            raise ValueError("holds a number too long to keep — write it as text") from error

    def line(self, text: str) -> Any:
        """The one value that makes up `text`."""
        if _too_deep(text):
            raise ValueError(_DEEP)
        value, end = self.value(text, _skip(text, 0))
        end = _skip(text, end)
        if end < len(text):
            raise ValueError(f"more text follows the row at column {end + 1} — one row per line")
        return value


_DEEP = f"nested more than {MAX_DEPTH} levels deep — flatten the row"


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(text):
        mark = token.group()[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _jsonl(path: Path) -> Iterator[Raw]:
    with open(path, "rb") as handle:
        number = 0
        while line := handle.readline(MAX_LINE + 1):
            number += 1
            raw = Raw(f"{path.name}:{number}")
            if len(line) > MAX_LINE:
                while line and not line.endswith(b"\n"):
                    line = handle.readline(MAX_LINE)
                raw.problems.append(f"longer than {MAX_LINE // 2**20} MiB — split the text into rows")
                yield raw
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raw.problems.append(f"not UTF-8 at byte {error.start + 1} of the line — save the file as UTF-8")
                yield raw
                continue
            if not text.strip(" \t\r\n"):
                continue
            parser = _Json()
            try:
                raw.value = parser.line(text.rstrip("\r\n"))
                raw.problems += parser.problems
            except ValueError as error:
                raw.problems.append(_fix(error, "one JSON object per line"))
            yield raw


def _fix(error: ValueError, how: str) -> str:
    text = str(error)
    return text if " — " in text else f"{text} — expected {how}"


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path.name}:{line} — not UTF-8 — save the file as UTF-8") from error


def _json(path: Path) -> Iterator[Raw]:
    text = _decoded(path)
    expected = 'a list of rows, or {"data": [rows]}'
    if _too_deep(text):
        raise DataError(f"{path.name} — {_DEEP}")
    parser = _Json()
    seen = 0
    try:
        at = _array_start(text, parser)
        if at is None:
            raise ValueError(f"the file is neither a list nor an object with a list under 'data' — expected {expected}")
        line, counted = 1, 0
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            parser.problems = []
            raw = Raw(f"{path.name}:{line}")
            raw.value, at = parser.value(text, at)
            raw.problems += parser.problems
            seen += 1
            yield raw
            at = _skip(text, at)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
                if text[at : at + 1] != "]":
                    continue
                raise ValueError(f"not valid JSON: a comma before the closing ] after row {seen}")
            if text[at : at + 1] != "]":
                raise ValueError(f"not valid JSON: expected , or ] after row {seen}")
        if text.lstrip()[:1] == "[" and _skip(text, at + 1) < len(text):
            raise ValueError(f"more text follows the list — expected {expected}")
    except ValueError as error:
        raise DataError(f"{path.name} — {_fix(error, expected)}", "one object per line is the .jsonl format") from error


def _array_start(text: str, parser: _Json) -> int | None:
    """Where the first row of the list stands: at the top, or under ``data`` of an object. None: there is no list."""
    at = _skip(text, 0)
    if text[at : at + 1] == "{":
        whole, end = parser.value(text, at)
        if not isinstance(whole.get("data"), list):
            return None
        if _skip(text, end) < len(text):
            raise ValueError("more text follows the object — expected one object")
        found = []
        while text[at : at + 1] != "}":  # well formed, as just seen: each turn steps over one key and its value
            key, at = parser.value(text, _skip(text, at + 1))
            at = _skip(text, _skip(text, at) + 1)
            found += [at] if key == "data" else []
            at = _skip(text, parser.value(text, at)[1])
        if len(found) > 1:
            raise ValueError("key 'data' is given twice — keep one")
        at = found[0]
    return _skip(text, at + 1) if text[at : at + 1] == "[" else None


def _csv(path: Path) -> Iterator[Raw]:
    text = _decoded(path)
    limit = csv.field_size_limit(MAX_LINE)
    try:
        lines = csv.reader(
            io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
        )
        header: list[str] | None = None
        while True:
            start = lines.line_num + 1
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield Raw(
                    f"{path.name}:{start}",
                    problems=[f'broken quoting ({error}), the rest was not read — double each " inside quotes'],
                )
                return
            if not cells:
                continue
            if header is None:
                header = [c.strip() for c in cells]
                if len(set(header)) < len(header) or "" in header:
                    raise DataError(f"{path.name}:1 — column names are missing or given twice — name each column once")
                continue
            raw = Raw(f"{path.name}:{start}")
            if len(cells) != len(header):
                raw.problems.append(
                    f"{len(cells)} cells for {len(header)} columns — put quotes around text with commas or line breaks"
                )
            else:
                raw.value = {k: v for k, v in zip(header, cells, strict=True) if v or k in _REQUIRED}
            yield raw
    finally:
        csv.field_size_limit(limit)


_REQUIRED = ("prompt", "completion", "question", "answer", "text", "messages")


def _parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{path.name} — column names are given twice — name each column once")
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield Raw(f"{path.name}:row {number}", plain_value(value))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name} — not a Parquet file, or a damaged one — write it again") from error


READERS = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
"""Readers by the ending of the file's name."""
