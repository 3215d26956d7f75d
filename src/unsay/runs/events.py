"""events.jsonl: what happened at every step, appended as it happens."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from . import atomic

_logger = logging.getLogger("unsay")


class Events:
    """An append-only file of JSON lines ``{"t": seconds, "stage": …, …}``.

    `t` goes on where an earlier start of the same run left off. Half a line that a crash left at the end is cut off.
    Lines are handed to the operating system one by one, so they survive a kill of the process; they are not synced to
    the disk.

    Args:
        path: The file, made by the first event; None keeps nothing.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = _last_time(path) if path is not None else 0.0
        self._began = time.monotonic()

    def append(self, stage: str, values: Mapping[str, Any]) -> None:
        """Add one line; a file that cannot be written is given up with one warning."""
        if self._path is None:
            return
        seconds = round(self._offset + time.monotonic() - self._began, 3)
        line = atomic.json_text({"t": seconds, "stage": stage, **values}) + "\n"
        try:
            if self._file is None:
                self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - stays open for the run's life
            self._file.write(line.encode("utf-8", errors="replace"))
        except OSError as error:
            _logger.warning("%s is given up: %s", self._path, error.strerror)
            self._path = None

    def size(self) -> int:
        """Bytes so far."""
        return self._path.stat().st_size if self._path is not None and self._path.exists() else 0

    def rewind(self, mark: int) -> None:
        """Cut the file to `mark` bytes; a mark beyond its end changes nothing."""
        if self._path is not None and mark < self.size():
            os.truncate(self._path, mark)

    def drop(self, stage: str) -> None:
        """Remove the events of a stage that is about to be done anew."""
        if self.size() and self._path is not None:
            self.close()
            lines = self._path.read_bytes().splitlines(keepends=True)
            atomic.write_bytes(self._path, b"".join(line for line in lines if _stage_of(line) not in (stage, None)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _stage_of(line: bytes) -> str | None:
    """None for a line that cannot be read."""
    try:
        return str(json.loads(line)["stage"])
    except (ValueError, KeyError, TypeError):
        return None


def _last_time(path: Path) -> float:
    """The `t` of the last whole line; what follows it is cut off."""
    if not path.is_file():
        return 0.0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    for line in reversed(data[:whole].splitlines()[-1:]):
        try:
            return float(json.loads(line)["t"])
        except (ValueError, KeyError, TypeError):
            return 0.0
    return 0.0
