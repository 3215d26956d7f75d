"""Name → class. The folder is the registry: ``methods/sim_npo.py`` *is* ``sim-npo``; entry points and files add to it.

Listing names and reading their headers imports nothing but this module; only `load` imports the one file asked for.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PlanError
from .naming import file_digest, kebab

KINDS = ("methods", "metrics", "benchmarks", "attacks", "writers", "tokens", "combiners", "stops")
_ROOT = Path(__file__).parent
_INFRASTRUCTURE = {"metrics": {"needs", "have", "score"}, "attacks": {"bucket_crossing"}}


@dataclass(frozen=True)
class Entry:
    """Where a name comes from."""

    kind: str
    name: str
    origin: str
    """``unsay``, a distribution name and version, or a file with its hash."""
    file: Path | None = None
    target: str = ""
    """``package.module:Class`` of an entry point."""


def names(kind: str) -> list[str]:
    """All names of a kind, sorted: our own files and other distributions' entry points."""
    return sorted(entries(kind))


def entries(kind: str) -> dict[str, Entry]:
    """Every name of a kind with its origin.

    Raises:
        PlanError: unknown kind, or two origins claim one name.
    """
    if kind not in KINDS:
        raise PlanError(f"no such kind: {kind!r}", f"one of {', '.join(KINDS)}")
    hidden = _INFRASTRUCTURE.get(kind, set())
    found = {
        kebab(file.stem): Entry(kind, kebab(file.stem), "unsay", file=file)
        for file in (_ROOT / kind).glob("*.py")
        if not file.stem.startswith("_") and file.stem not in hidden
    }
    for point in importlib.metadata.entry_points(group=f"unsay.{kind}"):
        name = kebab(point.name)
        dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
        if name in found:
            raise PlanError(
                f"two {kind} are named {name!r}: one of {found[name].origin}, one of {dist}",
                f"uninstall one or rename it in {dist}",
            )
        found[name] = Entry(kind, name, dist, target=point.value)
    return found


def load(kind: str, name: str) -> type[Any]:
    """The class behind `name`: a listed name, or ``path/to/file.py:Class``.

    Raises:
        PlanError: nothing has that name (with the nearest names), or its file does not define what it should.
    """
    if ".py" in name:
        return _from_file(kind, name)
    found = entries(kind)
    entry = found.get(kebab(name))
    if entry is None:
        raise unknown(kind, name, list(found))
    if entry.target:
        module, _, attribute = entry.target.partition(":")
        loaded: type[Any] = getattr(importlib.import_module(module), attribute)
        return loaded
    assert entry.file is not None
    return _only_class(importlib.import_module(f"unsay.{kind}.{entry.file.stem}"), str(entry.file))


def unknown(kind: str, name: str, known: list[str]) -> PlanError:
    """The error for a name nobody has, with suggestions."""
    near = difflib.get_close_matches(kebab(name), known, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return PlanError(f"no {kind[:-1]} named {name!r}{meant}", f"run 'unsay list {kind}', or give path/to/file.py:Class")


def origin(kind: str, name: str) -> str:
    """Distribution and version behind a name, or the hash of a local file; goes into the manifest."""
    if ".py" in name:
        path = Path(name.rpartition(":")[0] or name)
        return f"{path.name} sha256:{file_digest(path)[:16]}"
    return entries(kind)[kebab(name)].origin


def header(kind: str, name: str) -> str:
    """The docstring at the top of a name's file, read without importing it (empty for other distributions' names)."""
    entry = entries(kind).get(kebab(name))
    if entry is None:
        raise unknown(kind, name, names(kind))
    if entry.file is None:
        return inspect.getdoc(load(kind, name)) or ""
    return ast.get_docstring(ast.parse(entry.file.read_text(encoding="utf-8"))) or ""


def summary(kind: str, name: str) -> str:
    """The first sentence of the header."""
    text = header(kind, name).strip().split("\n\n")[0]
    return " ".join(text.split())


def _from_file(kind: str, name: str) -> type[Any]:
    path_text, _, attribute = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    path = Path(path_text)
    if not path.is_file():
        raise PlanError(f"{kind[:-1]} file not found: {path}", "give path/to/file.py:Class")
    spec = importlib.util.spec_from_file_location(f"unsay_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PlanError(f"{path} cannot be imported as Python", "give path/to/file.py:Class")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up by name
    spec.loader.exec_module(module)
    if not attribute:
        return _only_class(module, str(path))
    if not hasattr(module, attribute):
        raise PlanError(f"{path} has no class {attribute!r}", f"it defines {', '.join(_public(module)) or 'none'}")
    found: type[Any] = getattr(module, attribute)
    return found


def _public(module: Any) -> dict[str, type[Any]]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def _only_class(module: Any, where: str) -> type[Any]:
    classes = _public(module)
    if len(classes) != 1:
        raise PlanError(
            f"{where} must define exactly one public class, found {sorted(classes) or 'none'}", "prefix helpers with _"
        )
    return next(iter(classes.values()))


def name_of(cls: type[Any]) -> str:
    """The name under which `load` finds `cls`: a kebab-case name or ``file.py:Class``; "" for classes of no kind."""
    for kind in KINDS:
        stem = cls.__module__.removeprefix(f"unsay.{kind}.")
        if stem != cls.__module__ and not stem.startswith("_") and stem not in _INFRASTRUCTURE.get(kind, ()):
            return kebab(stem)
    if cls.__module__.startswith("unsay."):
        return ""  # reading the entry points of all distributions takes a while
    for kind in KINDS:
        for point in importlib.metadata.entry_points(group=f"unsay.{kind}"):
            if point.value == f"{cls.__module__}:{cls.__qualname__}":
                return kebab(point.name)
    if cls.__module__.startswith("unsay_plugin_"):
        return f"{inspect.getfile(cls)}:{cls.__qualname__}"
    return ""
