"""A run folder in, report.html and report.md out (of an audit audit.html and .md). Only files are read: no torch."""

from pathlib import Path

from ..runs.atomic import write_text
from .audit import write_audit
from .folder import RunFolder, read_run
from .html import page
from .markdown import markdown
from .redact import redacted


def write_report(run_dir: Path | str, *, redact: bool | None = None) -> Path:
    """Write report.html and report.md into a run folder.

    Args:
        run_dir: A run folder. Unfinished and failed runs have a report of what there is.
        redact: Hide the texts of the forget rows everywhere in both files; None does as the run's plan says.

    Returns:
        Path of report.html, or audit.html.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it cannot be read.
    """
    if (Path(run_dir) / "audit.json").is_file():
        return write_audit(run_dir, redact=redact)
    run, hide = load(Path(run_dir), redact)
    write_text(run.dir / "report.md", markdown(run))
    path = run.dir / "report.html"
    write_text(path, page(run, is_redacted=hide))
    return path


def load(run_dir: Path, redact: bool | None) -> tuple[RunFolder, bool]:
    """The run, redacted when asked for (or when the plan asks for it), and whether it was."""
    run = read_run(run_dir)
    hide = bool(run.plan.get("redact", False)) if redact is None else redact
    return (redacted(run) if hide else run), hide
