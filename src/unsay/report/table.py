"""The table of scores, for the command line, the report and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .findings import label
from .folder import MetricInfo, Number, RunFolder, read_run
from .text import interval, number, visible

KINDS = {
    "forget": "Forgetting",
    "utility": "Usefulness",
    "privacy": "Membership",
    "fluency": "Fluency",
    "other": "Other",
}
WANTED = {"up": "↑ higher", "down": "↓ lower", "match": "= like retrained"}


@dataclass(frozen=True)
class Row:
    """One metric over all models."""

    metric: MetricInfo
    cells: tuple[Number, ...]
    """In the order of `RunFolder.tags`."""

    @property
    def wanted(self) -> str:
        """Which way it should go, in words; "" without a judgement."""
        return WANTED.get(self.metric.wanted or "", "")

    @property
    def n(self) -> str:
        """``40 (2)``: examples, and entities behind them where rows name any; ``40–38`` when models differ."""
        counts = [c for c in self.cells if c.n]
        if not counts:
            return "–"
        low, high = min(c.n for c in counts), max(c.n for c in counts)
        clusters = max(c.clusters for c in counts)
        size = str(low) if low == high else f"{low}–{high}"
        return f"{size} ({clusters})" if clusters else size

    @property
    def notes(self) -> tuple[str, ...]:
        """Every reason and remark of its numbers, once."""
        return tuple(dict.fromkeys(c.note for c in self.cells if c.note))

    def beside(self, tags: Sequence[str]) -> str:
        """The after model's companions of the value: ``ks 0.18, difference p 0.41``; "" without any."""
        own = next((c for tag, c in zip(tags, self.cells, strict=True) if tag == "after"), None)
        return ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in own.extra.items()) if own else ""


def headline(run: RunFolder) -> list[Row]:
    """The benchmark's headline metrics, or every metric when it names none."""
    ids = [m for m in run.headline if m in {x.id for x in run.metrics}]
    return [_row(run, run.metric(i)) for i in ids] or [_row(run, m) for m in run.metrics]


def grouped(run: RunFolder) -> list[tuple[str, list[Row]]]:
    """All metrics as (title of the group, rows)."""
    kinds = {kind: [_row(run, m) for m in run.metrics if m.kind == kind] for kind in KINDS if kind != "other"}
    kinds["other"] = [_row(run, m) for m in run.metrics if m.kind not in KINDS or m.kind == "other"]
    return [(KINDS[kind], rows) for kind, rows in kinds.items() if rows]


def summary_rows(run_dir: Path | str, *, every: bool = False) -> tuple[list[str], list[list[str]]]:
    """The table that the command line prints.

    Args:
        run_dir: A run folder.
        every: All metrics instead of the headline ones.

    Returns:
        Column names, and one list of cells a metric: metric, one cell a model (value and 95 % interval), wanted
        direction, n (entities). Texts are plain: acting characters are shown, and nothing is escaped for any markup.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it cannot be read.
    """
    run = read_run(Path(run_dir))
    rows = [row for _, group in grouped(run) for row in group] if every else headline(run)
    header = ["metric", *run.tags, "wanted", "n (entities)"]
    return [visible(h) for h in header], [[visible(c) for c in _cells(row)] for row in rows]


def _cells(row: Row) -> list[str]:
    values = [f"{number(c.value)} {interval(c.ci, 2)}".strip() for c in row.cells]
    return [label(row.metric), *values, row.wanted, row.n]


def _row(run: RunFolder, metric: MetricInfo) -> Row:
    return Row(metric, tuple(run.score(tag, metric.id) for tag in run.tags))
