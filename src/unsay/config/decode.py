"""Mapping ↔ plan: unknown keys are errors with a suggestion, wrong types name their path, `name:` picks the class."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .. import registry
from ..errors import PlanError
from . import overrides, presets
from .plan import Plan
from .yaml12 import load_file

_T = TypeVar("_T")
_PLAN_KINDS = {"method": "methods", "benchmark": "benchmarks", "metrics": "metrics", "attacks": "attacks"}
_PROTOCOLS = {
    "Method": "methods",
    "Benchmark": "benchmarks",
    "Attack": "attacks",
    "Metric": "metrics",
    "Writer": "writers",
    "TokenWeights": "tokens",
    "Combiner": "combiners",
    "Stop": "stops",
}


def read_plan(start: str | None, words: Iterable[str]) -> tuple[Plan, dict[str, str]]:
    """A plan from a file or preset (or nothing) and ``key=value`` words.

    Returns:
        The plan, and for every dotted key that was set where its value came from (keys not in it are defaults).

    Raises:
        PlanError: see `decode`; also when `start` is neither a file nor a preset.
    """
    sources: dict[str, str] = {}
    document: dict[str, Any] = {}
    if start is not None:
        path = Path(start)
        if path.suffix in {".yaml", ".yml"} or path.is_file():
            if not path.is_file():
                raise PlanError(
                    f"plan file not found: {path}", "give a .yaml file, or a preset: " + ", ".join(presets.names())
                )
            read, where = load_file(path), str(path)
            if read is not None and not isinstance(read, dict):
                raise PlanError(
                    f"{path}: a plan is a mapping, found {type(read).__name__}", "see 'unsay plan' for its keys"
                )
            document = overrides.expand(read or {})
        else:
            document, where = overrides.expand(presets.read(start)), f"preset {start}"
        sources.update({key: where for key in flatten(document)})
    changes = overrides.parse(words)
    document = overrides.apply(document, changes)
    sources.update({key: "command line" for key in flatten(overrides.apply({}, changes))})
    return decode(document), sources


def decode(document: Mapping[str, Any]) -> Plan:
    """A plan from a plain mapping.

    Raises:
        PlanError: an unknown key or name (with the nearest), or a value of the wrong type; starts with the dotted path.
    """
    full = overrides.expand(document)
    for key, name in (("method", "npo"), ("benchmark", "custom")):
        given = full.get(key)
        if given is None:
            full[key] = {"name": name}
        elif isinstance(given, Mapping):
            full[key] = {"name": name, **given}
    plan: Plan = _dataclass(Plan, full, "", _PLAN_KINDS)
    return plan


def take(cls: type[_T], words: Mapping[str, Any], prefix: str) -> tuple[_T, dict[str, Any]]:
    """Settings of something beside the plan, and the words that are not its: ``harness.limit=5``.

    Args:
        cls: A dataclass.
        words: Dotted key → value (`overrides.parse`).
        prefix: Such as ``harness.``; empty takes the words whose keys are fields of `cls`.

    Raises:
        PlanError: no such setting, or a value that makes no sense.
    """
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    ours = {key for key in words if (key.startswith(prefix) if prefix else key in fields)}
    settings = _dataclass(cls, {key.removeprefix(prefix): words[key] for key in sorted(ours)}, prefix, {})
    return settings, {key: value for key, value in words.items() if key not in ours}


def resolved(plan: Plan) -> Plan:
    """`plan` with the default method and benchmark where none is given."""
    method = plan.method if plan.method is not None else registry.load("methods", "npo")()
    benchmark = plan.benchmark if plan.benchmark is not None else registry.load("benchmarks", "custom")()
    return dataclasses.replace(plan, method=method, benchmark=benchmark)


def encode(value: Any) -> Any:
    """Plain JSON types; named objects become ``{name: …, fields}`` so that `decode(encode(plan)) == plan`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        body = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        name = registry.name_of(type(value))
        return {"name": name, **body} if name else body
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: leaf}; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ between two encoded plans."""
    a, b = flatten(one), flatten(other)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def _named(kind: str, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise PlanError(
            f"{path}: needs a name, got {value!r}", f"for example {path}={(registry.names(kind) or ['…'])[0]}"
        )
    cls = registry.load(kind, value["name"])
    if not dataclasses.is_dataclass(cls):
        raise PlanError(
            f"{path}: {value['name']} is not a dataclass", "decorate it with @dataclass(frozen=True, kw_only=True)"
        )
    return _dataclass(cls, {k: v for k, v in value.items() if k != "name"}, f"{path}.", {})


def _dataclass(cls: type[Any], document: Mapping[str, Any], prefix: str, kinds: Mapping[str, str]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in document.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            meant = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise PlanError(
                f"{prefix}{key}: no such setting{meant}",
                f"{prefix.rstrip('.') or 'a plan'} takes {', '.join(fields) or 'no settings'}",
            )
        kind = kinds.get(key) or _kind_of(hints[key])
        values[key] = _value(
            hints[key], _named_by_default(fields[key], value) if kind else value, f"{prefix}{key}", kind
        )
    try:
        return cls(**values)
    except PlanError as error:
        raise PlanError(f"{prefix}{error.message}", error.hint) from None
    except (TypeError, ValueError) as error:
        raise PlanError(f"{prefix.rstrip('.') or 'plan'}: {error}", "see 'unsay show' for its settings") from None


def _named_by_default(field: Any, value: Any) -> Any:
    """Settings without a name are those of what the field holds by default: ``method.writer.own=false``."""
    if not isinstance(value, Mapping) or "name" in value or field.default_factory is dataclasses.MISSING:
        return value
    name = registry.name_of(type(field.default_factory()))
    return {"name": name, **value} if name else value


def _value(hint: Any, value: Any, path: str, kind: str | None) -> Any:
    if kind and value is not None:
        if isinstance(value, (list, tuple)):
            return tuple(_named(kind, item, f"{path}[{i}]") for i, item in enumerate(value))
        return _named(kind, value, path)
    if value is None and type(None) in _options(hint):
        return None
    nested: type[Any] | None = next(
        (h for h in _options(hint) if isinstance(h, type) and dataclasses.is_dataclass(h)), None
    )
    if nested is not None and isinstance(value, Mapping):
        return _dataclass(nested, value, f"{path}.", {})
    if nested is not None and isinstance(value, nested):
        return value
    if hint is float and isinstance(value, bool):
        raise PlanError(f"{path}: input should be a number, got {value!r}", "write a number")
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint, config=None if nested is not None else ConfigDict(coerce_numbers_to_str=True))
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([path, *(str(part) for part in first["loc"] if isinstance(part, int))])
        raise PlanError(
            f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}", "see 'unsay plan' for the settings"
        ) from None


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _kind_of(hint: Any) -> str | None:
    """Which registry a field's type belongs to: ``Method``, ``Method | None``, ``tuple[Method, ...]`` are methods."""
    for option in _options(hint):
        for candidate in (option, *typing.get_args(option)):
            if (
                isinstance(candidate, type)
                and candidate.__module__.startswith("unsay.")
                and candidate.__name__ in _PROTOCOLS
            ):
                return _PROTOCOLS[candidate.__name__]
    return None
