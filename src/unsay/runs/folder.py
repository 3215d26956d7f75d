"""Which folder a plan runs in, and whether what is there already fits."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.decode import decode, differences, encode, flatten
from ..config.plan import Plan
from ..config.yaml12 import load
from ..errors import DamagedError, RunError, UnsayError
from ..naming import digest, safe_name
from . import lock
from .manifest import Manifest

_LABELS = ("name", "out", "redact")


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    return dict(encode(plan))


def plan_hash(document: Mapping[str, Any]) -> str:
    """Hash of a plan, without the settings that change no number."""
    return digest(_substance(document))


def label(plan: Plan, document: Mapping[str, Any]) -> str:
    """The run's name: the plan's, or its benchmark's."""
    return safe_name(plan.name if plan.name is not None else _part(document, "benchmark", "custom"))


def choose(plan: Plan, document: Mapping[str, Any]) -> Path:
    """``out``, or ``runs/<name>-<method>-<hash6>``.

    Raises:
        PlanError: the name cannot be part of a path.
    """
    if plan.out is not None:
        return Path(plan.out).expanduser()
    return Path("runs") / f"{label(plan, document)}-{_part(document, 'method', 'npo')}-{plan_hash(document)[:6]}"


def previous(folder: Path, document: Mapping[str, Any]) -> Manifest | None:
    """The manifest of the same plan's earlier start in this folder; None when the folder is fresh.

    Raises:
        RunError: the folder holds another plan (the differing keys are named) or something that is no run.
        DamagedError: its manifest or plan cannot be read.
    """
    if not (folder / "manifest.json").exists():
        if foreign := _foreign(folder):
            raise RunError(
                f"{folder} is not empty and is not a run folder: it holds {foreign!r}", "give another folder with out="
            )
        return None
    manifest = Manifest.load(folder)
    if _same(folder, manifest, document):
        return manifest
    old = read_document(folder)
    keys = [key for key in differences(_substance(old), _substance(document))]
    a, b = flatten(old), flatten(document)
    shown = "; ".join(f"{key}: {a.get(key)!r} there, {b.get(key)!r} now" for key in keys[:6])
    more = f"; and {len(keys) - 6} more" if len(keys) > 6 else ""
    raise RunError(
        f"{folder} holds another plan ({shown or 'its plan.yaml was edited'}{more})",
        "give another folder with out=, or --overwrite to replace what is there",
    )


def holds(folder: Path, document: Mapping[str, Any]) -> bool:
    """Whether the folder's manifest can be read and is of this plan."""
    try:
        return _same(folder, Manifest.load(folder), document)
    except UnsayError:
        return False


def _same(folder: Path, manifest: Manifest, document: Mapping[str, Any]) -> bool:
    """Whether the folder was started by this plan; settings that its version did not know yet have their defaults.

    Raises:
        DamagedError: its plan cannot be read.
    """
    if manifest.plan_hash == plan_hash(document):
        return True
    old = read_document(folder)
    if manifest.plan_hash != plan_hash(old):  # edited since
        return False
    try:
        before, now = (plan_hash(plan_document(decode(plan))) for plan in (old, document))
        return before == now
    except UnsayError:  # it has settings that this version does not know any more
        return False


def clear(folder: Path) -> None:
    """Empty a run folder for `overwrite`, its lock file excepted. The manifest goes last, so a crash leaves a run
    folder.

    Raises:
        RunError: the folder is no run; nothing is removed.
    """
    if not (folder / "manifest.json").exists():
        if foreign := _foreign(folder):
            raise RunError(
                f"{folder} is not a run folder: it holds {foreign!r}; it is left alone", "give another folder with out="
            )
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "manifest.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != lock.NAME:
            path.unlink()


def withdraw(folder: Path) -> None:
    """Remove a folder that a failed start has made; whatever else is in it stays, and so does the folder then."""
    if not (folder / "manifest.json").exists():
        (folder / "plan.yaml").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            if [path.name for path in folder.iterdir()] == [lock.NAME]:
                (folder / lock.NAME).unlink()
                folder.rmdir()


def read_document(folder: Path) -> dict[str, Any]:
    """plan.yaml as plain values.

    Raises:
        DamagedError: it is missing or not a plan.
    """
    path = folder / "plan.yaml"
    try:
        document = load(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, UnsayError) as error:
        raise DamagedError(f"{path} cannot be read: {error}", "start again with --overwrite") from None
    if not isinstance(document, dict):
        raise DamagedError(f"{path} holds no plan", "start again with --overwrite")
    return document


def _substance(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _LABELS}


def _part(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key)
    name = value.get("name") if isinstance(value, Mapping) else None
    # A class from a file is named by its path; only its last word can be part of a folder's name.
    return str(name or default).replace("\\", "/").rpartition("/")[2].replace(":", "-")


def _foreign(folder: Path) -> str:
    """The first thing in a folder that a run's first instants do not leave."""
    names = sorted(path.name for path in folder.iterdir())
    return next(
        (name for name in names if name not in (lock.NAME, "plan.yaml", "log.txt") and not name.startswith(".tmp-")), ""
    )
