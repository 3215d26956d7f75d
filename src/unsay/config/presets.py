"""Named plans shipped as YAML in ``presets/``; ``people-small/npo`` is the file of that path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..registry import unknown
from .yaml12 import load_file

_FOLDER = Path(__file__).parent.parent / "presets"


def names() -> list[str]:
    """All preset names."""
    return sorted(p.relative_to(_FOLDER).with_suffix("").as_posix() for p in _FOLDER.rglob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """The document of a preset.

    Raises:
        PlanError: there is none of that name.
    """
    path = _FOLDER / f"{name}.yaml"
    if name not in names():
        raise unknown("presets", name, names())
    document: dict[str, Any] = load_file(path)
    return document


def summary(name: str) -> str:
    """The comment on a preset's first line."""
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
