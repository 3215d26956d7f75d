"""What the methods that teach refusals share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.example import Example
from ..writers import Writer, obtain

if TYPE_CHECKING:
    from ..runs.run import Run


def refused(writer: Writer, rows: Sequence[Example], run: Run, *, others: Sequence[Example]) -> list[Example]:
    """`rows` with a refusal each for their answers: the row's own, or the writer's; the same for a whole run.

    Args:
        writer: Who writes for rows that bring none.
        rows: Questions.
        run: Seed and folder.
        others: More rows the writer may look at.
    """
    texts = obtain(writer, rows, "refusal", 1, run, others=others)
    return [Example(row.prompt, own[0], meta=row.meta) for row, own in zip(rows, texts, strict=True)]
