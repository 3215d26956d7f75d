"""What commands print: tables, progress, a plan with its sources."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table
from rich.text import Text

from .. import registry
from ..config import presets
from ..errors import PlanError
from ..report.text import visible
from ..runs.manifest import Manifest
from ..runs.reporter import NullReporter, Reporter


class _Task:
    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task

    def advance(self, n: float = 1) -> None:
        self._progress.advance(self._task, n)

    def finish(self) -> None:
        self._progress.update(self._task, visible=True)
        self._progress.stop_task(self._task)


class RichReporter:
    """One bar a stage, with time left; finished bars stay so that the whole run can be read afterwards."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def task(self, label: str, total: float | None, unit: str = "") -> _Task:
        """A bar of `total` units."""
        return _Task(self._progress, self._progress.add_task(label, total=total, unit=unit))


@contextmanager
def reporter(quiet: bool) -> Iterator[Reporter]:
    """A reporter drawing on standard error, or one that draws nothing."""
    if quiet:
        yield NullReporter()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        yield RichReporter(progress)


def annotated(text: str, sources: Mapping[str, str]) -> str:
    """YAML `text` with ``# where from`` behind every line whose dotted key is in `sources`."""
    lines: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        stripped = line.lstrip(" ")
        depth = (len(line) - len(stripped)) // 2
        key = stripped.partition(":")[0]
        if not stripped.startswith("- "):
            path = [*path[:depth], key]
        origin = sources.get(".".join(path))
        lines.append(f"{line}  # {origin}" if origin and not stripped.startswith("- ") else line)
    return "\n".join(lines)


def outcome(console: Console, folder: Path) -> None:
    """The table of a run folder, what its reader should know, and where its files are."""
    from ..report.table import summary_rows

    header, rows = summary_rows(folder)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _print_whole(console, table)
    for note in Manifest.load(folder).notes:
        console.print(Text(f"note    {visible(note)}", style="dim"), soft_wrap=True)
    for name in ("model", "report.html"):
        if (folder / name).exists():
            console.print(Text(f"{name.split('.')[0]:<7} {folder / name}"), soft_wrap=True)


def audited(console: Console, folder: Path) -> None:
    """The verdict of an audit: its worst row by attack, what it means, and where the report is."""
    from ..report.audit import overview

    said, header, rows = overview(folder)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i < 3 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    _print_whole(console, table)
    for line in said:
        console.print(Text(visible(line)), soft_wrap=True)
    console.print(Text(f"report  {folder / 'audit.html'}"), soft_wrap=True)


def _print_whole(console: Console, table: Table) -> None:
    """A pipe has no width: lines that wrap there are no use to the next program."""
    if not console.is_terminal:
        wide = console.measure(table, options=console.options.update(max_width=999)).maximum
        console.width = max(console.width, wide)
    console.print(table)


def listing(console: Console, kind: str) -> None:
    """Names and first sentences of a kind."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    table.add_column(style="dim", no_wrap=True)
    if kind == "presets":
        for name in presets.names():
            table.add_row(name, Text(presets.summary(name)), "unsay")
    else:
        for name, entry in sorted(registry.entries(kind).items()):
            table.add_row(name, Text(registry.summary(kind, name)), entry.origin)
    console.print(table)


def details(console: Console, name: str) -> None:
    """Header and settings of the first thing called `name`.

    Raises:
        PlanError: nothing is called that.
    """
    for kind in registry.KINDS:
        if name in registry.names(kind) or (".py" in name and kind == "methods"):
            console.print(Text(f"{kind[:-1]} {name}\n", style="bold"))
            if ".py" not in name:
                console.print(registry.header(kind, name), markup=False, soft_wrap=True)
            console.print("\nSettings", style="bold")
            for line in _settings(kind, name):
                console.print(line, markup=False, soft_wrap=True)
            return
    if name in presets.names():
        from ..config.yaml12 import dump

        console.print(Text(f"preset {name}: {presets.summary(name)}\n", style="bold"))
        console.print(dump(presets.read(name)), markup=False)
        return
    everything = [n for kind in registry.KINDS for n in registry.names(kind)] + presets.names()
    raise PlanError(registry.unknown("things", name, everything).message, "see 'unsay list methods'")


def _settings(kind: str, name: str) -> list[str]:
    cls = registry.load(kind, name)
    docs = _field_docs(cls)
    lines = [
        f"  {f.name} = {_default(f)}    {docs.get(f.name, '')}".rstrip() for f in dataclasses.fields(cls) if f.init
    ]
    return lines or ["  none"]


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default_factory()
    return registry.name_of(type(value)) or repr(value)  # what a plan would say


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """The string under each field, base classes included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # built in C or typed at a prompt: no source to read
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for one, two in itertools.pairwise(body):
            named = isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            text = (
                isinstance(two, ast.Expr) and isinstance(two.value, ast.Constant) and isinstance(two.value.value, str)
            )
            if named and text:
                found[one.target.id] = " ".join(two.value.value.split())  # type: ignore[union-attr,attr-defined]
    return found
