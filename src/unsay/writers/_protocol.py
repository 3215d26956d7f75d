"""What every writer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..data.example import Example

if TYPE_CHECKING:
    from ..runs.run import Run


@runtime_checkable
class Writer(Protocol):
    """A frozen keyword-only dataclass of settings with one verb."""

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """Candidates for each row, best first; `obtain` checks them and takes the first `count` that pass.

        The same settings, rows and seed should give the same texts where the back-end allows it.

        Args:
            rows: What to write for.
            role: A key of `_prompts.ROLES`: ``refusal`` (declines to answer), ``alternative`` (plausible but wrong).
            count: Texts wanted for each row; more may be given, so that rejected ones can be replaced.
            run: Seed, progress, signals.
            others: Further rows of the same data to draw on, such as the retain rows. Nothing is written for them.

        Returns:
            `Example.id` → texts. Rows may be missing.

        Raises:
            UnsayError: the back-end cannot work at all.
        """
        ...
