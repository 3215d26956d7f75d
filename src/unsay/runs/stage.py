"""The timed parts of a run, and how much memory each one took."""

from __future__ import annotations

import contextlib
import resource
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Stage:
    """What `Run.stage` yields."""

    name: str
    """Full name, sub-runs included: ``attack/relearn``."""
    key: str
    """Hash of everything the stage depends on."""
    done: bool
    """It finished before with this key: its results are there, skip the work."""
    tokens: int = 0
    """Tokens trained on, scored or generated; add to it."""
    sweeps: str = ""
    """How often a model was asked, in words."""


class PeakMemory:
    """Largest resident memory of this process since each of several overlapping starts.

    Linux keeps one high-water mark per process and lets it be reset; each reading is passed on to every start still
    open. Elsewhere the mark cannot be reset, and a stage reports the largest memory of the whole process up to its end.
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._next = 0

    def start(self) -> int:
        """A ticket for `stop`."""
        self._read()
        self._next += 1
        self._open[self._next] = 0
        return self._next

    def stop(self, ticket: int) -> int:
        """Bytes."""
        self._read()
        return self._open.pop(ticket)

    def _read(self) -> None:
        mark = _high_water_bytes()
        for ticket, seen in self._open.items():
            self._open[ticket] = max(seen, mark)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _high_water_bytes() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
