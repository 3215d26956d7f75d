"""How progress is shown. The library shows nothing; the command line brings its own reporter."""

from __future__ import annotations

from typing import Protocol


class Task(Protocol):
    """One bar."""

    def advance(self, n: float = 1) -> None:
        """`n` more units are done."""
        ...

    def finish(self) -> None:
        """The work is over, complete or not."""
        ...


class Reporter(Protocol):
    """Shows tasks."""

    def task(self, label: str, total: float | None, unit: str) -> Task:
        """Begin a bar of `total` units; None when the total is not known."""
        ...


class _NullTask:
    def advance(self, n: float = 1) -> None:
        pass

    def finish(self) -> None:
        pass


class NullReporter:
    """Shows nothing."""

    def task(self, label: str, total: float | None, unit: str) -> Task:
        """A task that shows nothing."""
        return _NullTask()
