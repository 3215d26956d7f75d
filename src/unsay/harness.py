"""``unsay evaluate RUN --harness mmlu,gsm8k``: a run's models on tasks of lm-evaluation-harness, kept in its folder.

Every model and task is a stage of ``RUN/evaluations/harness``: what was asked before, of the same weights in the same
way, is not asked again, and an interrupted call goes on where it stopped. ``RUN/harness.json`` holds all the scores,
and the run's report shows them beside its own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import overrides
from .config.decode import decode, encode, take
from .config.plan import ModelSpec, Plan
from .errors import PlanError
from .naming import digest
from .report.report import write_report
from .runs import atomic
from .runs.reporter import Reporter
from .runs.run import Run
from .scoring import score_row
from .subjects import Subject, plan_models

if TYPE_CHECKING:
    from .measure.lm_harness import Harness, TaskScore

_CITE = "lm-evaluation-harness, github.com/EleutherAI/lm-evaluation-harness"


def evaluate_harness(
    target: str, tasks: Sequence[str], changes: Iterable[str] = (), *, reporter: Reporter | None = None
) -> Path:
    """Ask a finished run's models, or any one model, tasks of lm-evaluation-harness.

    Args:
        target: A run folder, or a model folder, hub id or alias.
        tasks: Names of tasks, groups or tags of the harness.
        changes: ``key=value`` words: ``harness.limit=``, ``harness.shots=``, ``harness.batch=``, ``harness.chat=``,
            ``harness.include=`` (a folder with tasks of your own); for a model also ``model.template=`` and the like.
        reporter: Where progress goes.

    Returns:
        A run folder with scores.json and report.html: ``evaluations/harness`` inside a run, otherwise
        ``runs/evaluate-<model>-harness``.

    Raises:
        MissingExtra: lm-eval is not installed.
        PlanError: no task, an unknown one, or a setting that makes no sense.
        DataError: a task's questions cannot be had.
    """
    from .measure.lm_harness import Harness, HarnessSettings

    tasks = list(dict.fromkeys(task.strip() for task in tasks if task.strip()))
    if not tasks:
        raise PlanError("--harness names no task", "--harness mmlu,gsm8k")
    settings, others = take(HarnessSettings, overrides.parse(changes), "harness.")
    harness = Harness(settings)
    harness.check(tasks)
    folder = Path(target).expanduser()
    finished = Run.open(folder) if (folder / "manifest.json").is_file() else None
    plan, models = _models(target, folder, finished, others)
    with Run.start(plan, reporter=reporter, overwrite=True) as run:
        fingerprints = {tag: _ask(run, harness, tag, Subject.of(spec), tasks) for tag, spec in models.items()}
        kept = _kept(run, fingerprints)
        _write(run, kept, harness.version)
    write_report(run.dir)
    if finished:
        atomic.write_json(folder / "harness.json", kept)
        write_report(folder)
    return run.dir


def _models(
    target: str, folder: Path, finished: Run | None, words: Mapping[str, Any]
) -> tuple[Plan, Mapping[str, ModelSpec]]:
    """The plan of the evaluation's own folder, and the models to ask by tag."""
    document = encode(finished.plan) if finished else {"model": {"path": target}}
    plan = decode(overrides.apply(document, words))
    out = folder / "evaluations" / "harness" if finished else Path("runs") / f"evaluate-{folder.name}-harness"
    models = plan_models(plan, finished.manifest.models, folder) if finished else {"subject": plan.model}
    if not models:
        raise PlanError(f"{folder} has no model yet", "finish it first: unsay run with the same plan")
    return dataclasses.replace(plan, name="harness", out=str(out), attacks=()), models


def _ask(run: Run, harness: Harness, tag: str, model: Subject, tasks: Sequence[str]) -> str:
    """Ask what was not asked before; returns the model's fingerprint."""
    keys = {task: digest([model.fingerprint, harness.key(task)]) for task in tasks}
    left = [task for task in tasks if _read(_file(run, tag, task)).get("key") != keys[task]]
    if left:
        asked = harness.ask(model.load(), left, run.progress)
        with run.progress(f"harness {tag}", len(left), "tasks") as bar:
            for task in left:
                with run.stage(f"harness {tag} {task}"):
                    _, scores = next(asked)
                    about = {"key": keys[task], "fingerprint": model.fingerprint, "lm_eval": harness.version}
                    atomic.write_json(_file(run, tag, task), {**about, **_kept_task(tag, scores)})
                bar.advance(1)
                run.check_stop()
    model.drop()
    return model.fingerprint


def _kept_task(tag: str, scores: Sequence[TaskScore]) -> dict[str, Any]:
    about = [
        {
            "id": s.id,
            "title": s.id.replace("-", " "),
            "split": "",
            "wanted": s.wanted,
            "kind": s.kind,
            "summary": s.summary,
        }
        for s in scores
    ]
    return {
        "metrics": about,
        "scores": [score_row(tag, s.id, s.score) for s in scores],
        "per_example": {s.id: dict(s.score.per_example) for s in scores},
    }


def _kept(run: Run, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Every task's scores of these models that the folder holds, this call's and earlier ones'."""
    metrics: dict[str, Any] = {}
    scores: list[Any] = []
    for tag, fingerprint in fingerprints.items():
        for file in sorted((run.dir / "tasks" / tag).glob("*.json")):
            found = _read(file)
            if found.get("fingerprint") == fingerprint:
                metrics |= {m["id"]: m for m in found["metrics"]}
                scores += found["scores"]
    return {"metrics": [metrics[i] for i in sorted(metrics)], "scores": scores}


def _write(run: Run, kept: Mapping[str, Any], version: str) -> None:
    about = {"name": "lm-evaluation-harness", "cite": f"{_CITE} {version}", "headline": [], "metrics": kept["metrics"]}
    run.write_json("benchmark.json", about)
    run.write_json("scores.json", kept["scores"])


def _file(run: Run, tag: str, task: str) -> Path:
    return run.path("tasks", tag, re.sub(r"[^A-Za-z0-9._-]", "-", task)[:55] + ".json")


def _read(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found if isinstance(found, dict) else {}
