"""``train.lr=1e-5 method=npo method.beta=0.2`` onto a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import PlanError
from .yaml12 import load

ALIASES = {"forget": "data.forget", "retain": "data.retain", "holdout": "data.holdout"}
"""Short forms of the three keys that everybody types."""

_NAMED = {"model": "path"} | dict.fromkeys(
    ("method", "benchmark", "base", "writer", "tokens", "combine", "stop"), "name"
)
"""A bare word given for these keys is the field it stands for: ``method=npo`` is ``method.name=npo``."""


def parse(words: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words → {dotted key: value}; values are YAML scalars or flow collections.

    Raises:
        PlanError: a word has no ``=``, a key is empty or given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key or any(not part for part in key.split(".")):
            raise PlanError(f"{word!r} is not key=value", "write for example train.lr=1e-5 method=npo")
        key = ALIASES.get(key, key)
        if key in found:
            raise PlanError(f"{key} is given twice", "keep one of them")
        found[key] = load(text, key) if text else ""
    return found


def apply(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `document` with every dotted key of `changes` set; ``method`` before ``method.beta``."""
    result: dict[str, Any] = expand(document)
    for key, value in sorted(changes.items(), key=lambda item: item[0].count(".")):
        _set(result, key.split("."), value, key)
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, all the way down; a mapping with another `name` replaces the old one."""
    if over.get("name", base.get("name")) != base.get("name"):
        return dict(over)
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def expand(value: Any, key: str = "") -> Any:
    """Bare words to the mappings they stand for: ``{"method": "npo"}`` → ``{"method": {"name": "npo"}}``."""
    if isinstance(value, Mapping):
        flat = {k: v for k, v in value.items() if k not in ALIASES or key}
        result = {k: expand(v, k) for k, v in flat.items()}
        if not key:
            for short in ALIASES.keys() & value.keys():
                _set(result, ALIASES[short].split("."), value[short], short)
        return result
    if key in ("attacks", "metrics"):
        words = [] if value in (None, "none", "") else value.split(",") if isinstance(value, str) else value
        return [{"name": w.strip()} if isinstance(w, str) else expand(w, key[:-1]) for w in words]
    if isinstance(value, str) and key in _NAMED:
        return {_NAMED[key]: value}
    return value


def _set(document: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    *parents, last = path
    node = document
    for i, part in enumerate(parents):
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise PlanError(
                f"{key}: {'.'.join(parents[: i + 1])} is {child!r}, which has no settings", "set the outer key first"
            )
        node = child
    value, old = expand(value, last), node.get(last)
    node[last] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
