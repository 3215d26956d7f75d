"""A run: its folder, seed, settings, stages, events and progress; one process holds it at a time."""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..config.decode import decode
from ..config.plan import Plan, Train
from ..config.yaml12 import dump
from ..errors import Interrupted, RunError, UnsayError
from ..naming import safe_name
from . import atomic, folder, manifest
from .events import Events
from .lock import FolderLock
from .manifest import DataRecord, Manifest, ModelRecord, StageRecord, Status
from .reporter import NullReporter, Reporter, Task
from .signals import StopSignals
from .stage import PeakMemory, Stage

_logger = logging.getLogger("unsay")

EachEpoch = Callable[[int, Callable[[], Any]], None]
"""Number of the epoch that has ended, from 1, and what returns the present weights as an LM of their own."""


@dataclass
class _Shared:
    """What a run and its sub-runs have in common."""

    root: Path
    manifest: Manifest
    reporter: Reporter
    lock: FolderLock | None
    """None for a run that is only read."""
    events: Events
    signals: StopSignals = field(default_factory=StopSignals)
    memory: PeakMemory = field(default_factory=PeakMemory)
    open_stages: list[Stage] = field(default_factory=list)
    log: logging.Handler | None = None

    def save(self, *, failing: bool = False) -> None:
        """Write the manifest; while another error is on its way, a disk error must not take its place."""
        if self.lock is None:
            return
        try:
            self.manifest.save(self.root)
        except UnsayError as error:
            if not failing:
                raise
            _logger.warning("%s", error.message)


class Run:
    """A run folder and everything that belongs to the run.

    Made by `start` (takes the folder's lock), `open` (reads a finished run), `temporary` or `sub`. Use it as a
    context manager, or end it with `finish` or `fail`.

    Attributes:
        dir: Where the files of this run, or sub-run, go.
        plan: The plan as given.
        seed: Seed that components derive theirs from (`unsay.naming.derive_seed`).
        train: How gradient steps are taken.
        each_epoch: What a training of this run calls after each epoch; None calls nothing.
    """

    def __init__(
        self,
        dir: Path,
        plan: Plan,
        seed: int,
        train: Train,
        shared: _Shared,
        prefix: str = "",
        each_epoch: EachEpoch | None = None,
    ):
        self.dir = dir
        self.plan = plan
        self.seed = seed
        self.train = train
        self.each_epoch = each_epoch
        self._shared = shared
        self._prefix = prefix

    @classmethod
    def start(
        cls, plan: Plan, *, command: Sequence[str] = (), reporter: Reporter | None = None, overwrite: bool = False
    ) -> Run:
        """Start a plan, or resume it when its folder holds an earlier start of the same plan.

        Args:
            plan: What to do; `plan.out` is the folder, None is ``runs/<name>-<method>-<hash6>``.
            command: Words to repeat the run with, for the manifest and for hints.
            reporter: Shows progress; None shows none.
            overwrite: Remove what another plan left in the folder; the same plan resumes all the same.

        Raises:
            RunError: another process holds the folder, or it holds another plan or something that is no run.
            DamagedError: the folder's manifest cannot be read.
            ResourceError: the folder cannot be written.
        """
        document = folder.plan_document(plan)
        root = folder.choose(plan, document)
        name = folder.label(plan, document)
        fresh = not root.exists()
        with atomic.disk_errors(root):
            try:
                lock = FolderLock(root)
            except (FileExistsError, NotADirectoryError):
                raise RunError(f"{root} is a file, expected a folder", "give another folder with out=") from None
        try:
            if overwrite and not folder.holds(root, document):
                folder.clear(root)
            earlier = folder.previous(root, document)
            atomic.sweep(root)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            about = earlier or Manifest(name, folder.plan_hash(document), [], now, plan.seed)
            installed = manifest.packages()
            changed = manifest.changed_packages(about.packages, installed) if earlier else []
            about.name, about.command, about.status, about.error = name, list(command), "running", ""
            about.plan_hash = folder.plan_hash(document)
            about.git, about.packages, about.machine = manifest.git(), installed, manifest.machine()
            for stage in about.stages:
                stage.status = "interrupted" if stage.status == "running" else stage.status  # it was killed
            atomic.write_text(root / "plan.yaml", dump(document))
            about.save(root)
        except BaseException:
            if fresh:
                folder.withdraw(root)
            lock.release()
            raise
        shared = _Shared(root, about, reporter or NullReporter(), lock, Events(root / "events.jsonl"))
        run = cls(root, plan, plan.seed, plan.train, shared)
        run._begin()
        if changed:
            run.note(f"resumed with other package versions: {', '.join(changed)}")
        return run

    @classmethod
    def open(cls, dir: Path | str, *, reporter: Reporter | None = None) -> Run:
        """A run that was made before, without its lock: nothing here changes its manifest or its events.

        Raises:
            RunError: not a run folder.
            DamagedError: its manifest or plan cannot be read.
        """
        root = Path(dir).expanduser()
        about = Manifest.load(root)
        plan = decode(folder.read_document(root))
        shared = _Shared(root, about, reporter or NullReporter(), None, Events(None))
        return cls(root, plan, plan.seed, plan.train, shared)

    @classmethod
    def temporary(cls, train: Train | None = None, seed: int = 0, *, reporter: Reporter | None = None) -> Run:
        """A run in a temporary folder that is removed with the object, or at exit. Catches no signals."""
        plan = Plan(train=train or Train(), seed=seed)
        root = Path(tempfile.mkdtemp(prefix="unsay-"))
        about = Manifest("temporary", "", [], datetime.now(UTC).isoformat(timespec="seconds"), seed)
        shared = _Shared(root, about, reporter or NullReporter(), FolderLock(root), Events(root / "events.jsonl"))
        weakref.finalize(shared, shutil.rmtree, root, ignore_errors=True)
        return cls(root, plan, seed, plan.train, shared)

    def sub(
        self,
        name: str,
        *,
        train: Train | None = None,
        seed: int | None = None,
        each_epoch: EachEpoch | None = None,
    ) -> Run:
        """A run inside this one: its own folder ``<dir>/<name>`` and stage names; lock, signals, progress and events
        shared.

        Args:
            name: Path components of ``A-Za-z0-9._-``, such as ``relearn/after``.
            train: Other training settings; None keeps this run's.
            seed: Another seed; None keeps this run's.
            each_epoch: Called by a training of this sub-run (not by runs inside it) after each epoch, before the
                checkpoint that a resumed training would go on from. It must not change the weights.
        """
        path = self.path(name)
        path.mkdir(exist_ok=True)
        train = train if train is not None else self.train
        seed = self.seed if seed is None else seed
        plan = replace(self.plan, train=train, seed=seed)
        return Run(path, plan, seed, train, self._shared, f"{self._prefix}{name}/", each_epoch)

    @property
    def manifest(self) -> Manifest:
        """What manifest.json says now; change it through `record`, `note` and `stage`."""
        return self._shared.manifest

    @contextlib.contextmanager
    def stage(self, name: str, *, key: str = "") -> Iterator[Stage]:
        """A timed part of the run, with its peak memory and tokens.

        Args:
            name: Unique within the run.
            key: Hash of everything the stage depends on. If the stage finished before with the same key, the yielded
                stage is `done` and the body should do nothing. The empty key is never done.
        """
        full = f"{self._prefix}{name}"
        about = self._shared.manifest
        record = about.stage(full)
        if record is not None and key and record.status == "done" and record.key == key:
            yield Stage(full, key, done=True)
            return
        if record is None or record.key != key or record.status == "done":
            about.stages = [other for other in about.stages if other.name != full]
            self._shared.events.drop(full)
            record = StageRecord(full, key)
            about.stages.append(record)
        stage = Stage(full, key, done=False)
        spent, peak, tokens = record.seconds, record.peak_bytes, record.tokens
        record.status = "running"
        self._shared.save()
        self._shared.open_stages.append(stage)
        began, ticket = time.monotonic(), self._shared.memory.start()
        _logger.debug("%s begins", full)
        try:
            yield stage
            record.status = "done"
        except (Interrupted, KeyboardInterrupt, GeneratorExit):
            record.status = "interrupted"
            raise
        except BaseException:
            record.status = "failed"
            raise
        finally:
            self._shared.open_stages.remove(stage)
            record.seconds = round(spent + time.monotonic() - began, 3)
            record.peak_bytes = max(peak, self._shared.memory.stop(ticket))
            record.tokens = tokens + stage.tokens
            record.sweeps = stage.sweeps
            self._shared.save(failing=record.status != "done")
            _logger.debug("%s %s after %.1f s", full, record.status, record.seconds)

    def log(self, **values: Any) -> None:
        """Append one line to events.jsonl: seconds since the first start, the current stage, and `values`.

        A log that cannot be written is given up with one warning; the run goes on.
        """
        stages = self._shared.open_stages
        stage = stages[-1].name if stages else self._prefix.rstrip("/")
        self._shared.events.append(stage, values)

    def spend(self, tokens: int) -> None:
        """Count tokens to the innermost stage that is open: trained on, scored or generated."""
        if self._shared.open_stages:
            self._shared.open_stages[-1].tokens += tokens

    def events_mark(self) -> int:
        """Position in events.jsonl; keep it in a checkpoint."""
        return self._shared.events.size()

    def events_rewind(self, mark: int) -> None:
        """Drop the events after `mark`: the steps behind them are about to be taken again."""
        self._shared.events.rewind(mark)

    def path(self, *parts: str) -> Path:
        """A path below this run's folder; the folders leading to it are made.

        Raises:
            PlanError: a component has other characters than ``A-Za-z0-9._-`` or is ``..``.
            RunError: a symbolic link leads out of the run's folder.
        """
        names = [safe_name(component) for part in parts for component in part.split("/")]
        path = self.dir.joinpath(*names)
        root = self._shared.root.resolve()
        if not path.resolve().is_relative_to(root):
            raise RunError(f"{path} leads out of {root}", "remove the symbolic link")
        with atomic.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file below the run's folder in one step."""
        atomic.write_json(self.path(name), value)

    def write_jsonl(self, name: str, rows: Iterable[Any]) -> None:
        """Write a JSON Lines file below the run's folder in one step."""
        atomic.write_jsonl(self.path(name), rows)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file below the run's folder in one step."""
        atomic.write_text(self.path(name), text)

    def record(
        self,
        *,
        models: Mapping[str, ModelRecord] | None = None,
        data: Mapping[str, DataRecord] | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Add facts to the manifest: models by tag, data by split, number format, thread count of the numerics."""
        about = self._shared.manifest
        about.models.update(models or {})
        about.data.update(data or {})
        about.precision = precision if precision is not None else about.precision
        if threads is not None:
            about.machine = manifest.machine(threads)
        self._shared.save()

    def note(self, text: str) -> None:
        """Say something the reader of the results should know; kept once in the manifest, and logged."""
        notes = self._shared.manifest.notes
        if text not in notes:
            notes.append(text)
            _logger.info(text)
            self._shared.save()

    @contextlib.contextmanager
    def progress(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """A progress bar of `total` units; call `advance` on what is yielded."""
        task = self._shared.reporter.task(f"{self._prefix}{label}", total, unit)
        try:
            yield task
        finally:
            task.finish()

    @property
    def stopping(self) -> bool:
        """A signal asked the run to stop at its next safe point."""
        return self._shared.signals.received is not None

    def check_stop(self) -> None:
        """Call it at a safe point.

        Raises:
            Interrupted: a signal asked the run to stop; the hint is how to resume.
        """
        received = self._shared.signals.received
        if received is not None:
            again = shlex.join(self._shared.manifest.command) or "run the same plan again"
            raise Interrupted(f"stopped by {received.name}; what is finished is kept", f"resume with: {again}")

    def finish(self) -> None:
        """The run is complete: say so, and let go of the folder."""
        self._end("done", "")

    def fail(self, error: BaseException) -> None:
        """The run ended early: say why (``interrupted`` by a signal, or ``failed``), and let go of the folder."""
        interrupted = isinstance(error, (Interrupted, KeyboardInterrupt))
        message = error.message if isinstance(error, Interrupted) else str(error)
        self._end("interrupted" if interrupted else "failed", f"{type(error).__name__}: {message}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def _begin(self) -> None:
        shared = self._shared
        shared.signals.install()
        with contextlib.suppress(OSError):
            shared.log = logging.FileHandler(shared.root / "log.txt", encoding="utf-8", errors="replace")
            shared.log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            _logger.addHandler(shared.log)

    def _end(self, status: Status, error: str) -> None:
        shared = self._shared
        if shared.lock is None:
            return
        shared.manifest.status, shared.manifest.error = status, error
        try:
            shared.save(failing=status != "done")
        finally:
            if shared.log is not None:
                _logger.removeHandler(shared.log)
                shared.log.close()
            shared.events.close()
            shared.signals.restore()
            shared.lock.release()
            shared.lock = None
