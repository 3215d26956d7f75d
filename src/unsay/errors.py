"""Errors a user can act on: what is wrong, what was expected, what to type.

The command line prints ``error: …`` and ``hint: …`` and leaves with `exit_code`; ``--debug`` shows the traceback.
Exit codes: 0 done · 2 bad input · 4 damaged files · 5 out of disk or memory · 6 training collapsed ·
75 interrupted, resumable.
"""

from collections.abc import Sequence


class UnsayError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: What is wrong with the value that was given, and what was expected.
        hint: What to type or change, or "" when the message says it all.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class PlanError(UnsayError, ValueError):
    """A plan, an override or a name in it makes no sense."""


class DataError(UnsayError, ValueError):
    """The rows cannot be used. Collects every problem found, so that one run shows them all.

    Args:
        problems: One line each, starting with ``file:line`` where a line is to blame. At most 20 are printed.
        hint: How to fix them.
    """

    def __init__(self, problems: str | Sequence[str], hint: str = ""):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        shown = self.problems[:20]
        if len(self.problems) > 20:
            shown.append(f"… and {len(self.problems) - 20} more")
        super().__init__("\n".join(shown), hint)


class ModelError(UnsayError):
    """A model cannot be found, loaded, trusted or saved."""


class MethodError(UnsayError):
    """A method cannot work with this model, data or adapter."""


class NeedError(UnsayError):
    """A metric or objective read something it did not declare."""


class RunError(UnsayError):
    """A run folder is locked, holds another plan, or is not a run."""


class DamagedError(UnsayError):
    """A file on disk is not what its manifest says."""

    exit_code = 4


class ResourceError(UnsayError):
    """Disk or memory ran out."""

    exit_code = 5


class CollapseError(UnsayError):
    """Training produced non-finite numbers; the last good checkpoint is kept."""

    exit_code = 6


class Interrupted(UnsayError):
    """Stopped by a signal after a checkpoint; the same command resumes."""

    exit_code = 75


class MissingExtra(UnsayError, ImportError):
    """An optional dependency is not installed; the hint is the pip line."""
