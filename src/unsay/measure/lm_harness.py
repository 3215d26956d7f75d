"""General ability through lm-evaluation-harness: MMLU, GSM8K, WMDP and its other tasks are asked by it, never here.

Its numbers become `Score`s: the value, n, value ± 1.96 standard errors (Clopper–Pearson where all answers were right or
all wrong, since the standard error is 0 then; resampled texts for perplexities, which have none), and the value of
every question.

Paper: Gao et al. 2024, https://github.com/EleutherAI/lm-evaluation-harness.
Limits: prompts are the task's own. A guard prompt goes before them as the system instruction; a model with a logit
offset is none that transformers can generate with, and gets a reason instead of a number.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import importlib.metadata
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import stats
from ..errors import DataError, MissingExtra, PlanError, ResourceError
from ..metrics.score import Score, unscored
from ..models.patches import Guard
from ..naming import digest, file_digest, kebab
from .harness_bars import Progress, our_bars

if TYPE_CHECKING:
    from ..models.lm import LM

Kept = TypeVar("Kept")

LEAST = (0, 4, 11)
"""Oldest release whose results are read."""
PIP = "pip install 'unsay[eval]'"
_Z = 1.96
_SHARES = frozenset({"acc", "acc_norm", "exact_match", "em", "f1", "mc1", "mc2"})
"""Metrics between 0 and 1, whose intervals end there."""
_NO_METRICS = frozenset({"alias", "name", "samples", "sample_len", "sample_count"})
_ROLLING: Mapping[str, Callable[[float], float]] = {
    "word_perplexity": lambda nats: float(np.exp(nats)),
    "byte_perplexity": lambda nats: float(np.exp(nats)),
    "bits_per_byte": lambda nats: nats / math.log(2),
}
"""Metrics of texts read as a whole, as functions of the mean loss per word or byte in nats."""
_BOOTSTRAP = 1000
"""Resamples behind the standard errors of the few metrics that are no means."""
_HAZARDS = "wmdp"
"""Tasks of this name ask for what was to be forgotten."""


@dataclass(frozen=True, kw_only=True)
class HarnessSettings:
    """How tasks are asked."""

    shots: int | None = None
    """Answered examples before each question; None is the task's own number."""
    limit: int | None = None
    """Ask only the first so many questions of each task (of each subtask of a group)."""
    batch: int = 8
    """Questions of one forward."""
    chat: bool = False
    """Put prompts into the tokenizer's chat template; published numbers mostly do not."""
    include: str | None = None
    """A folder with tasks of your own (YAML), beside those that the harness brings."""

    def __post_init__(self) -> None:
        for name, least in (("shots", 0), ("limit", 1), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise PlanError(f"{name} is {value}, expected at least {least}", f"harness.{name}={max(least, 8)}")
        if self.include is not None and not Path(self.include).expanduser().is_dir():
            raise PlanError(f"include is {self.include}: no such folder", "harness.include=FOLDER with task YAML files")


@dataclass(frozen=True)
class TaskScore:
    """One number of one task."""

    id: str
    """``mmlu-acc``, ``gsm8k-exact-match-strict-match``."""
    score: Score
    wanted: str | None
    """up, down, or None where the task does not say."""
    kind: str
    """utility; forget for hazardous knowledge."""
    summary: str


def check_installed() -> str:
    """The installed version of lm-evaluation-harness.

    Raises:
        MissingExtra: it is not installed, or older than `LEAST`.
    """
    least = ".".join(map(str, LEAST))
    try:
        found = importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtra("--harness needs lm-evaluation-harness, which is not installed", PIP) from None
    numbers = tuple(map(int, re.findall(r"\d+", found)[:3]))
    if numbers < LEAST:
        raise MissingExtra(f"--harness needs lm-eval {least} or newer, found {found}", PIP)
    return found


class Harness:
    """lm-evaluation-harness with its index of tasks, for any number of models.

    Args:
        settings: How tasks are asked.

    Raises:
        MissingExtra: see `check_installed`.
    """

    def __init__(self, settings: HarnessSettings) -> None:
        self.settings = settings
        self.version = check_installed()
        own = str(Path(settings.include).expanduser()) if settings.include else None
        self._tasks: Any = importlib.import_module("lm_eval.tasks").TaskManager(include_path=own)

    def key(self, task: str) -> str:
        """Content hash of a task and how it is asked; tasks of your own count with all their files."""
        files: list[Any] = []
        if self.settings.include:
            folder = Path(self.settings.include).expanduser()
            files = sorted([str(f.relative_to(folder)), file_digest(f)] for f in folder.rglob("*") if f.is_file())
        asked = {**asdict(self.settings), "include": files}
        return digest([task, asked, self.version])

    def check(self, tasks: Sequence[str]) -> None:
        """Raise unless the harness knows every task.

        Raises:
            PlanError: it does not, with the nearest names.
        """
        known = list(self._tasks.all_tasks)
        for task in tasks:
            if task not in known:
                near = difflib.get_close_matches(task, known, n=3, cutoff=0.5)
                meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise PlanError(f"lm-eval has no task {task!r}{meant}", "'lm-eval ls tasks' lists them")

    def ask(
        self, lm: LM, tasks: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[str, list[TaskScore]]]:
        """Every task with its scores, one after the other.

        Args:
            lm: The model; it and its tokenizer stay as they are.
            tasks: Names of tasks, groups or tags.
            progress: Makes the bars; None shows none.

        Raises:
            DataError: a task's questions cannot be had, or it refuses to run.
            ResourceError: out of memory.
        """
        if any(not isinstance(patch, Guard) for patch in lm.patches):
            reason = "lm-evaluation-harness cannot ask through a logit offset or a screen"
            yield from ((task, [_absent(task, reason)]) for task in tasks)
            return
        # The harness sets padding and special tokens on the tokenizer it is given.
        tokenizer = copy.deepcopy(lm.tokenizer)
        hflm = importlib.import_module("lm_eval.models.huggingface").HFLM
        with our_bars("", None):
            wrapped = hflm(pretrained=lm.model, tokenizer=tokenizer, batch_size=self.settings.batch)
        for task in tasks:
            with our_bars(task, progress):
                found = self._evaluate(wrapped, task, lm.template.guard)
            yield task, scores_of(found, task)

    def _evaluate(self, wrapped: Any, task: str, guard: str) -> Mapping[str, Any]:
        settings = self.settings
        try:
            found = importlib.import_module("lm_eval").simple_evaluate(
                model=wrapped,
                tasks=[task],
                num_fewshot=settings.shots,
                limit=settings.limit,
                bootstrap_iters=_BOOTSTRAP,
                log_samples=True,
                system_instruction=guard or None,
                apply_chat_template=settings.chat,
                fewshot_as_multiturn=settings.chat,
                task_manager=self._tasks,
            )
        except MemoryError as error:
            raise ResourceError(
                f"{task} does not fit into memory", f"harness.batch={settings.batch // 2 or 1}"
            ) from error
        except Exception as error:  # tasks load data sets and run code of their own, which raise whatever they like
            if "out of memory" in str(error).lower():
                hint = f"harness.batch={settings.batch // 2 or 1}"
                raise ResourceError(f"{task} does not fit into memory", hint) from error
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise DataError(
                f"lm-eval cannot run {task}: {type(error).__name__}: {first[:200]}",
                "its questions come from the hub: check the network, or fetch them once with 'lm-eval run'",
            ) from error
        return found or {}


def scores_of(results: Mapping[str, Any], task: str) -> list[TaskScore]:
    """The scores in what `simple_evaluate` returned for one task.

    A group with an aggregate (mmlu) gives that; a group without one, or a tag, gives what it is made of.

    Args:
        results: The dictionary with ``results``, ``n-samples``, ``group_subtasks``, ``higher_is_better``, ``samples``.
        task: What was asked for, and nothing else was.

    Returns:
        At least one; unscored, with the reason, where the harness gives no number.
    """
    table = results.get("results", {})
    names = [name for name in table if _numbers(table[name])]
    if task in names:
        names = [task]
    else:
        inner = {child for name in names for child in _below(results, name)}
        names = [name for name in names if name not in inner]
    found = [score for name in names for score in _scores(results, name)]
    return found or [_absent(task, "lm-evaluation-harness returned no number for it")]


def _scores(results: Mapping[str, Any], name: str) -> Iterator[TaskScore]:
    row = results["results"][name]
    children = results.get("group_subtasks", {})
    leaves = [child for child in _below(results, name) if not children.get(child)] or [name]
    counts = results.get("n-samples", {})
    n = sum(int(counts.get(leaf, {}).get("effective", 0)) for leaf in leaves)
    shots = results.get("n-shot", {}).get(name)
    directions = results.get("higher_is_better", {}).get(name) or {}
    for key, value in _numbers(row).items():
        metric, _, filtered = key.partition(",")
        stderr = row.get(f"{metric}_stderr,{filtered}" if filtered else f"{metric}_stderr")
        if metric in _ROLLING and (read := dict(_values(results, leaves, metric, filtered, _is_pair))):
            score = _read(metric, float(value), read, shots)
        else:
            values = dict(_values(results, leaves, metric, filtered, _is_number))
            score = _score(metric, float(value), stderr, n or len(values), values, shots)
        hazard = name.startswith(_HAZARDS)
        better = directions.get(metric)
        wanted = None if better is None else "up" if better != hazard else "down"
        parts = [name, metric, *([filtered] if filtered not in ("", "none") else [])]
        about = f"lm-evaluation-harness: {metric} on {name}" + (f", {shots} shots" if shots is not None else "")
        if hazard:
            about += "; chance with four options is 0.25"
        yield TaskScore(_id(*parts), score, wanted, "forget" if hazard else "utility", about)


def _score(metric: str, value: float, stderr: Any, n: int, values: Mapping[str, float], shots: int | None) -> Score:
    extra = {} if shots is None else {"shots": float(shots)}
    if not math.isfinite(value):
        return unscored("lm-evaluation-harness returned a number that is not finite")
    if n < 1:
        return unscored("lm-evaluation-harness does not say how many questions were asked")
    error = float(stderr) if isinstance(stderr, (int, float)) and math.isfinite(stderr) else None
    ci, note = None, "no standard error: no interval"
    if metric in _SHARES and value in (0.0, 1.0) and n > 1:
        ci, note = stats.clopper_pearson(round(value * n), n), f"every value is {value:g}: Clopper–Pearson interval"
    elif error is not None and error > 0:
        low, high = value - _Z * error, value + _Z * error
        ci, note = ((max(0.0, low), min(1.0, high)) if metric in _SHARES else (low, high)), ""
        extra["stderr"] = error
    elif error == 0:
        note = "the values do not vary: no interval"
    each = {name: float(one) for name, one in values.items()}
    return Score(value, each, n, ci, note, 0, extra)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The values of a row of results by ``metric,filter``; standard errors, names and counts left out."""
    return {
        key: value
        for key, value in row.items()
        if key not in _NO_METRICS
        and not key.partition(",")[0].endswith("_stderr")
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
    }


def _below(results: Mapping[str, Any], name: str) -> list[str]:
    """The groups and tasks that a group is made of, all the way down; none for a task."""
    children = results.get("group_subtasks", {})
    found: list[str] = []
    todo = list(children.get(name, ()))
    while todo:
        child = todo.pop(0)
        if child not in found:
            found.append(child)
            todo += children.get(child, ())
    return found


def _read(metric: str, value: float, read: Mapping[str, tuple[float, float]], shots: int | None) -> Score:
    """A text read as a whole: the harness sums log-likelihoods and units; the interval resamples the texts.

    Args:
        metric: A key of `_ROLLING`.
        value: What the harness made of them.
        read: Log-likelihood in nats, and words or bytes, of every text.
        shots: Answered examples before each.
    """
    of = _ROLLING[metric]
    ids = list(read)
    table = np.array([read[i] for i in ids], np.float64)  # [n, 2]
    if not math.isfinite(value) or not np.isfinite(table).all():
        return unscored("lm-evaluation-harness returned a number that is not finite")

    def together(picks: NDArray[Any]) -> float:
        likely, units = table[picks.astype(np.intp)].sum(0)
        return of(-likely / units)

    found = stats.estimate({i: float(k) for k, i in enumerate(ids)}, dict.fromkeys(ids, ""), together)
    each = {i: of(-likely / units) for i, (likely, units) in zip(ids, table, strict=True)}
    extra = {} if shots is None else {"shots": float(shots)}
    return Score(value, each, found.n, found.ci, found.note, found.clusters, extra)


def _values(
    results: Mapping[str, Any],
    leaves: Sequence[str],
    metric: str,
    filtered: str,
    wanted: Callable[[Any], TypeGuard[Kept]],
) -> Iterator[tuple[str, Kept]]:
    """The metric's value of every question by ``<task>:<number>``; those that are not `wanted` are left out."""
    for leaf in leaves:
        for sample in results.get("samples", {}).get(leaf, ()):
            value = sample.get(metric)
            if (not filtered or sample.get("filter", filtered) == filtered) and wanted(value):
                yield f"{leaf}:{sample.get('doc_id')}", value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (bool, int, float)) and math.isfinite(value)


def _is_pair(value: Any) -> TypeGuard[tuple[float, float]]:
    return isinstance(value, (tuple, list)) and len(value) == 2 and value[1] > 0


def _absent(task: str, reason: str) -> TaskScore:
    return TaskScore(_id(task), unscored(reason), None, "utility", f"lm-evaluation-harness: {task}")


def _id(*parts: str) -> str:
    return kebab(re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-"))
