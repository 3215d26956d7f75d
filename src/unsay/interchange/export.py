"""A run's scores for other software, from its files alone: CSV, LaTeX, files as open-unlearning has them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from ..errors import PlanError, RunError
from ..report.folder import RunFolder
from ..report.report import load
from ..runs import atomic
from .export_latex import latex
from .export_open_unlearning import evaluations

_COLUMNS = ("model", "metric", "value", "ci_low", "ci_high", "n", "clusters", "wanted", "note")
_FOLDERS = "open-unlearning"


def table_csv(run: RunFolder) -> str:
    """One line a model and metric, comma-separated, numbers in full; what is unscored has no value and a reason."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for (tag, metric), number in run.scores.items():
        low, high = number.ci or (None, None)
        wanted = run.metric(metric).wanted
        writer.writerow([tag, metric, number.value, low, high, number.n, number.clusters, wanted, number.note])
    return buffer.getvalue()


_TEXTS: dict[str, Callable[[RunFolder], str]] = {"csv": table_csv, "latex": latex}
FORMATS = (_FOLDERS, *_TEXTS)


def export(run_dir: Path | str, format: str, out: Path | str | None = None, *, overwrite: bool = False) -> str | Path:
    """Write a run's scores, or return them as text.

    Args:
        run_dir: A run folder.
        format: One of `FORMATS`.
        out: File; for open-unlearning a folder. None returns the text of csv and latex, and means
            ``<name of the run>-open-unlearning``.
        overwrite: Replace what is there.

    Returns:
        The text, or the path that was written.

    Raises:
        PlanError: there is no such format.
        RunError: the folder is no run or has no scores, or something is there already.
        DamagedError: a file in it cannot be read.
        ResourceError: the disk is full or failed.
    """
    if format not in FORMATS:
        raise PlanError(f"--format {format!r}: expected {', '.join(FORMATS)}", f"--format {FORMATS[1]}")
    run, _ = load(Path(run_dir).expanduser(), None)  # without the forget texts where the plan hides them
    if not run.scores:
        raise RunError(f"{run_dir} has no scores yet", "finish the run, or unsay evaluate RUN --benchmark NAME")
    if format in _TEXTS:
        text = _TEXTS[format](run)
        if out is None:
            return text
        path = Path(out).expanduser()
        _free(path, overwrite, folder=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
        return path
    folder = Path(out).expanduser() if out is not None else Path(f"{run.dir.resolve().name}-{_FOLDERS}")
    files = evaluations(run)
    _free(folder, overwrite, folder=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / name, content)
    return folder


def _free(path: Path, overwrite: bool, *, folder: bool) -> None:
    """Make sure that writing harms nothing.

    Raises:
        RunError: something is there.
    """
    kind = "folder" if folder else "file"
    if path.exists() and path.is_dir() != folder:
        raise RunError(f"{path} is {'no' if folder else 'a'} folder, expected a {kind}", "give another --out")
    there = any(path.iterdir()) if folder and path.exists() else path.exists()
    if there and not overwrite:
        raise RunError(f"{path} exists already", "give another --out, or --overwrite to replace it")
