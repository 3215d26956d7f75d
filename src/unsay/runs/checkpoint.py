"""Resumable checkpoints: ``root/step-40`` is whole and verified, or it is not there.

Order of a commit: check free space, fill a scratch folder, sync and hash every file, write MANIFEST.json last,
rename, read back and compare. Older checkpoints are removed only after that, and never the last whole one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .atomic import commit_folder, damage, discard, disk_errors, folder_bytes, json_text, read_manifest, sweep

_logger = logging.getLogger("unsay")
_STEP = re.compile(r"step-(\d+)")


def commit(
    root: Path, step: int, write: Callable[[Path], None], meta: Mapping[str, Any], *, expect_bytes: int = 0
) -> Path:
    """Write the checkpoint of one step.

    A whole checkpoint of this step with the same `meta` is kept as it is and `write` is not called; any other is
    replaced.

    Args:
        root: Folder of the checkpoints, used by one run at a time.
        step: Optimiser step, from 0.
        write: Puts any files into the folder it is given.
        meta: JSON to keep beside them (cursor, hashes, thread count).
        expect_bytes: Size of the files; 0 takes the newest checkpoint's. 1.3 times as much must be free.

    Returns:
        ``root/step-<step>``, verified.

    Raises:
        ResourceError: not enough space, or the disk failed; earlier checkpoints are untouched.
        DamagedError: what was read back is not what was written.
    """
    final = root / f"step-{step}"
    sweep(root)
    if final.exists() and not damage(final) and json_text(read_manifest(final)["meta"]) == json_text(meta):
        return final
    if not expect_bytes:
        expect_bytes = max((folder_bytes(path) for _, path in _all(root)[:1]), default=0)
    with commit_folder(final, meta=meta, existing="replace", expect_bytes=expect_bytes) as folder:
        write(folder)
    return final


def newest(root: Path, *, say: Callable[[str], None] | None = None) -> tuple[int, Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole: step, folder, meta; None when there is none.

    Also removes what a crash left half-written.

    Args:
        root: Folder of the checkpoints; need not exist.
        say: Told of each damaged checkpoint, once it is known where the run resumes; the default is the log.
    """
    sweep(root)
    problems = []
    found = None
    for step, path in _all(root):
        if problem := damage(path):
            problems.append(f"checkpoint {path.name} is damaged ({problem})")
            continue
        found = step, path, read_manifest(path)["meta"]
        break
    where = f"resuming from {found[1].name}" if found else "starting from the beginning"
    for problem in problems:
        (say or _logger.warning)(f"{problem}; {where}")
    return found


def prune(root: Path, keep: int = 2) -> None:
    """Remove all but the newest `keep` checkpoints (at least one).

    One that is incomplete counts for nothing: it never takes the place of a whole one, and goes with the old ones.
    """
    kept = 0
    for _, path in _all(root):
        if kept >= max(keep, 1):
            with disk_errors(path):
                discard(path)
        elif not damage(path, quick=True):  # the content was compared when it was written or resumed from
            kept += 1


def _all(root: Path) -> list[tuple[int, Path]]:
    """Step and folder of everything named like a checkpoint, newest first."""
    if not root.is_dir():
        return []
    named = ((_STEP.fullmatch(path.name), path) for path in root.iterdir())
    return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)
