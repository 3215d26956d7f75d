"""lm-evaluation-harness within a run: its bars become the run's, and its remarks to nobody are not made."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ..runs.reporter import Task

Progress = Callable[[str, float, str], AbstractContextManager[Task]]
"""`Run.progress`: a bar with a label, a total and a unit."""


@contextlib.contextmanager
def our_bars(label: str, progress: Progress | None) -> Iterator[None]:
    """Show the requests of one task as a bar of the run, and nothing else of the harness or of `datasets`.

    Within, the harness's modules have a quiet ``tqdm``, its loggers show errors only, and it does not ask git for the
    commit of the folder it happens to be called in (git answers on standard error where there is none).

    Args:
        label: Of the bar.
        progress: Makes it; None shows nothing.
    """
    with contextlib.ExitStack() as until:
        loggers = [logging.getLogger(name) for name in ("lm_eval", "lm-eval")]
        for logger in loggers:
            until.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        _quiet_datasets(until)
        bars = _bars(label, progress, until)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "lm_eval" and hasattr(module, "tqdm"):
                until.callback(setattr, module, "tqdm", module.tqdm)
                module.tqdm = bars  # type: ignore[attr-defined]
        evaluator: Any = sys.modules.get("lm_eval.evaluator")
        if hasattr(evaluator, "get_git_commit_hash"):
            until.callback(setattr, evaluator, "get_git_commit_hash", evaluator.get_git_commit_hash)
            evaluator.get_git_commit_hash = lambda: ""
        yield


def _quiet_datasets(until: contextlib.ExitStack) -> None:
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    if is_progress_bar_enabled():
        until.callback(enable_progress_bar)
        disable_progress_bar()


def _bars(label: str, progress: Progress | None, until: contextlib.ExitStack) -> type:
    """A tqdm that draws nothing; those that count requests move a bar of the run."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})
            total = float(settings.get("total") or 0)
            counted = total > 0 and "requests" in str(settings.get("desc", ""))
            self.ours = until.enter_context(progress(label, total, "requests")) if progress and counted else None

        def update(self, n: float | None = 1) -> None:
            if self.ours:
                self.ours.advance(n or 0)

    return Bar
