"""What a run folder says about itself: manifest.json and the rows of scores.json, and their JSON Schemas."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import psutil
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..errors import DamagedError, RunError
from . import atomic

SCHEMA_VERSION = 1
_PACKAGES = (
    "unsay",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "safetensors",
    "datasets",
    "huggingface_hub",
    "numpy",
    "scipy",
    "pyarrow",
    "rouge-score",
    "lm-eval",
)
_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=True)

Status = Literal["running", "done", "failed", "interrupted"]


@dataclass
class Git:
    """The checkout that unsay was imported from."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    commit: str
    """40 hex digits."""
    dirty: bool
    """Whether tracked files differed from it."""


@dataclass
class Machine:
    """Where the run took place."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    cpu: str
    """Model name of the processor."""
    cores: int
    """Cores this process may use."""
    threads: int
    """Threads the numerics used; finished weights are bit-identical only between runs with equal counts."""
    memory_bytes: int
    """Installed memory."""
    platform: str
    """Operating system, kernel and architecture."""


@dataclass
class ModelRecord:
    """One model of the run."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    origin: str
    """Where it came from."""
    fingerprint: str
    """Hash of its weights, tokenizer and template."""
    path: str = ""
    """Folder below the run, or "" when it was not kept."""


@dataclass
class DataRecord:
    """One list of rows."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    n: int
    """Rows."""
    fingerprint: str
    """Hash of the rows in order."""
    source: str
    """Where they were read."""


@dataclass
class StageRecord:
    """One timed part of the run."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: str
    key: str = ""
    """Hash of everything the stage depends on; a finished stage with the same key is not repeated."""
    status: Status = "running"
    seconds: float = 0.0
    """Wall time, interrupted attempts with the same key included."""
    peak_bytes: int = 0
    """Largest resident memory of the process during the stage."""
    tokens: int = 0
    """Tokens trained on, scored or generated."""
    sweeps: str = ""
    """How often a model was asked, where the stage measures one."""


@dataclass
class Manifest:
    """manifest.json."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: str
    """Label of the run."""
    plan_hash: str
    """Hash of the plan without out, name and redact."""
    command: list[str]
    """Words of the command that started or resumed the run."""
    created: str
    """First start, ISO 8601, UTC."""
    seed: int
    schema_version: int = SCHEMA_VERSION
    git: Git | None = None
    """None when unsay was not imported from a checkout."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions, Python's included."""
    machine: Machine | None = None
    precision: str = ""
    """Number format of the training: fp32 or bf16."""
    models: dict[str, ModelRecord] = field(default_factory=dict)
    """By tag: before, after, retrained."""
    data: dict[str, DataRecord] = field(default_factory=dict)
    """By split."""
    stages: list[StageRecord] = field(default_factory=list)
    """In the order in which they began."""
    status: Status = "running"
    """``running`` in a folder that no process holds means that the run was killed; the same command resumes it."""
    error: str = ""
    """Why it failed."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the results should know."""

    def stage(self, name: str) -> StageRecord | None:
        """The stage of that name."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def save(self, folder: Path) -> None:
        """Write ``folder/manifest.json`` in one step."""
        atomic.write_json(folder / "manifest.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``folder/manifest.json``.

        Raises:
            RunError: there is none, or another version of unsay wrote it.
            DamagedError: it is not what unsay writes.
        """
        path = folder / "manifest.json"
        if not path.is_file():
            raise RunError(
                f"{folder} is not a run folder: it has no manifest.json", "give a folder made by 'unsay run'"
            )
        try:
            version = json.loads(path.read_bytes())["schema_version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            version = SCHEMA_VERSION  # the check below says what is wrong with it
        if version != SCHEMA_VERSION:
            raise RunError(
                f"{path} has schema version {version}, this unsay reads {SCHEMA_VERSION}",
                "use the unsay version named in its packages, or start again with --overwrite",
            )
        try:
            manifest: Manifest = TypeAdapter(cls).validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DamagedError(
                f"{path}: {f'{where}: ' if where else ''}{first['msg']}", "start again with --overwrite"
            ) from None
        return manifest


@dataclass
class ScoreRow:
    """One row of scores.json: one number."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    model: str
    """before, after, retrained, or an attacked model such as ``relearn/after/step-10``."""
    metric: str
    """Metric id, ``probability@forget``."""
    split: str
    """The rows it is over; "" when it is over several splits."""
    value: float | None
    """None when unscored; `note` says why."""
    ci: tuple[float, float] | None
    """95 % interval."""
    n: int
    """Examples."""
    clusters: int
    """Entities behind the interval; 0 when rows name none."""
    note: str
    extra: dict[str, float | None] = field(default_factory=dict)
    """Companions of the number, such as a KS distance."""


def schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema, as kept in docs/schemas."""
    return {
        "manifest.json": TypeAdapter(Manifest).json_schema(),
        "scores.json": TypeAdapter(list[ScoreRow]).json_schema(),
    }


def write_schemas(folder: Path) -> None:
    """Write `schemas` as files.

    ``python -c "from unsay.runs.manifest import *; write_schemas(Path('docs/schemas'))"`` renews the kept ones.
    """
    for name, schema in schemas().items():
        atomic.write_json(folder / name, schema)


def machine(threads: int | None = None) -> Machine:
    """This machine.

    Args:
        threads: Threads the numerics use; None takes OMP_NUM_THREADS, else the number of cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        cpu=_cpu_name(),
        cores=cores,
        threads=threads or (int(said) if said.isdecimal() and int(said) else cores),
        memory_bytes=psutil.virtual_memory().total,
        platform=platform.platform(),
    )


def packages() -> dict[str, str]:
    """Versions of Python and of the installed packages that numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git() -> Git | None:
    """Commit of the checkout unsay runs from; None for an installed copy, even one inside another repository."""
    here = Path(__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", Path(__file__).name)
        return Git(commit=ask("rev-parse", "HEAD"), dirty=bool(ask("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return None


def changed_packages(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """``torch 2.12.0 → 2.13.0`` for every package whose version differs."""
    return [
        f"{name} {before.get(name, 'absent')} → {now.get(name, 'absent')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
