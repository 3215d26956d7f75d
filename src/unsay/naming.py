"""Stable names: content hashes that agree across processes and machines (never the builtin `hash`)."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import PlanError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses become dicts with their class name, paths strings, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def digest(value: Any, size: int = 16) -> str:
    """Hex blake2b of the canonical JSON of `value`; `size` is in bytes."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes, read in chunks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for one component of a run, so that adding a component moves no other's random numbers."""
    return int(digest([seed, *map(str, names)], 8), 16) >> 1


def kebab(name: str) -> str:
    """``GradAscent``, ``grad_ascent`` or ``grad-ascent`` → ``grad-ascent``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def safe_name(name: str) -> str:
    """`name`, if it can be a single path component.

    Raises:
        PlanError: it has characters outside ``A-Za-z0-9._-`` or is longer than 64.
    """
    if not _NAME.fullmatch(name) or set(name) == {"."}:
        raise PlanError(
            f"{name!r} cannot be a name", "use 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit"
        )
    return name
