"""forget.jsonl → an unlearned checkpoint and a report. `execute` is the whole story, top to bottom."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import registry
from .benchmarks._benchmark import Benchmark
from .config import overrides
from .config.decode import decode, encode, resolved
from .config.plan import ModelSpec, Plan, Train
from .data.example import Example, ForgetData, rows_fingerprint
from .data.read_shape import to_row
from .errors import MethodError, PlanError
from .metrics.score import Metric, metric_id
from .naming import digest
from .report.report import write_report
from .runs.manifest import DataRecord
from .runs.reporter import Reporter
from .runs.run import Run
from .runs.store import Store
from .scoring import score_row, write_scores
from .subjects import Subject, Subjects, plan_models

if TYPE_CHECKING:
    from .attacks._attack import Probe
    from .measure.evaluator import Evaluator
    from .models.lm import LM

_KNOWLEDGE = ("probability@forget", "extraction-strength@forget")
"""What an attack is judged by: cheap, and up means more knowledge."""


@dataclass
class Work:
    """What a plan comes to once everything it names has been read and checked."""

    base: LM
    """The model as given, loaded."""
    benchmark: Benchmark
    data: ForgetData
    notes: list[str]

    def hidden(self) -> list[Example]:
        """What a retrained model must not know: the forget rows, and every split of rows like them, measured or not."""
        splits = self.benchmark.splits()
        asked = [row for name, rows in splits.items() if name.startswith("forget") for row in rows]
        return [*self.data.forget, *asked]


def execute(
    plan: Plan, *, command: Sequence[str] = (), reporter: Reporter | None = None, overwrite: bool = False
) -> Run:
    """Unlearn, measure before and after, attack, report. Finished stages are skipped on a rerun.

    Everything that can be wrong with the plan, the model or the rows is found before the run folder is made.

    Args:
        plan: What to do.
        command: What the user typed, for the report.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan.

    Returns:
        The finished run; ``run.dir / "report.html"`` is the report.

    Raises:
        UnsayError: bad input (exit code 2), damage, lack of disk, collapse, or an interruption that a rerun resumes.
    """
    import torch

    plan = resolved(plan)
    work = prepare(plan)
    with Run.start(plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        run.record(threads=torch.get_num_threads())
        _write_rows(run, work)
        models = Subjects(run, work.base, work.benchmark.taught() if plan.teach else ())

        before = models.before()
        judge = _judge(run, work.benchmark.splits(), _metrics(plan, work.benchmark))
        _measure_base(run, judge, models.base)
        _measure(run, judge, "before", before)
        if registry.name_of(type(plan.benchmark)) == "custom":
            _forecast(run, work, before)
        after = models.after(before, work.data)
        _measure(run, judge, "after", after)
        retrained = models.retrained(work.hidden())
        if retrained is not None:
            _measure(run, judge, "retrained", retrained)
        write_scores(run, work.benchmark, judge)

        _attack(run, work, {"after": after, **({"retrained": retrained} if retrained else {})}, before)
    write_report(run.dir)
    return run


def run(
    *,
    model: str | ModelSpec = "smollm2-135m",
    forget: str | None = None,
    retain: str | None = None,
    holdout: str | None = None,
    method: Any = None,
    benchmark: Any = None,
    train: Train | Mapping[str, Any] | None = None,
    out: str | None = None,
    **settings: Any,
) -> Run:
    """`execute` for people who never open YAML: the same settings as keyword arguments.

    Args:
        model: Folder, hub id, alias or `ModelSpec`.
        forget: Rows to forget (file, folder or hub id); not needed when `benchmark` brings its own.
        retain: Rows to keep.
        holdout: Rows never trained on.
        method: A method, its name, or a mapping with `name`.
        benchmark: A benchmark, its name, or a mapping with `name`; the user's own rows when None.
        train: Training settings.
        out: Run folder.
        **settings: Further `Plan` fields (teach, retrained, attacks, seed, redact, name).
    """
    given = {
        "model": {"path": model} if isinstance(model, str) else model,
        "data": {k: v for k, v in {"forget": forget, "retain": retain, "holdout": holdout}.items() if v is not None},
        "method": method,
        "benchmark": benchmark,
        "train": train,
        "out": out,
        **settings,
    }
    return execute(decode({k: v for k, v in given.items() if v is not None}))


def evaluate(target: str, changes: Iterable[str] = (), *, reporter: Reporter | None = None) -> Path:
    """Measure a finished run's models, or any one model, on a benchmark. Trains nothing.

    Args:
        target: A run folder, or a model folder, hub id or alias.
        changes: ``key=value`` words: ``benchmark=`` (needed unless `target` is a run), ``benchmark.path=``, …
        reporter: Where progress goes.

    Returns:
        A run folder with scores.json and report.html: ``evaluations/<benchmark>`` inside a run, otherwise
        ``runs/evaluate-<model>-<benchmark>``.

    Raises:
        PlanError: there is nothing to measure on, or `target` is neither a run nor a model.
    """
    folder = Path(target).expanduser()
    finished = Run.open(folder) if (folder / "manifest.json").is_file() else None
    document = encode(finished.plan) if finished else {"model": {"path": target}}
    words = overrides.parse(changes)
    if finished and "benchmark" in words:
        document.pop("data")  # the run's own rows are another benchmark's business
    document = overrides.apply(document, words)
    if not finished and "benchmark" not in document and "data" not in document:
        raise PlanError("nothing to measure on", "give --benchmark NAME, or forget=FILE.jsonl")
    plan = decode(document)
    name = registry.name_of(type(plan.benchmark)).rpartition("/")[2].replace(":", "-")
    out = folder / "evaluations" / name if finished else Path("runs") / f"evaluate-{folder.name}-{name}"
    plan = dataclasses.replace(plan, name=name, out=str(out), attacks=())
    models = {"subject": plan.model}
    if finished:
        models = plan_models(finished.plan, finished.manifest.models, folder)
    if not models:
        raise PlanError(f"{folder} has no model yet", "finish it first: unsay run with the same plan")
    plan = dataclasses.replace(plan, model=models.get("after", plan.model))
    work = prepare(plan)
    with Run.start(plan, reporter=reporter, overwrite=True) as run:
        _write_rows(run, work)
        judge = _judge(run, work.benchmark.splits(), _metrics(plan, work.benchmark))
        if finished and finished.plan.teach and judge.wants("base"):
            _measure_base(run, judge, Subject.of(dataclasses.replace(finished.plan.model, adapter=None)))
        for tag, spec in models.items():
            _measure(run, judge, tag, Subject.of(spec))
        write_scores(run, work.benchmark, judge)
    write_report(run.dir)
    return run.dir


def prepare(plan: Plan) -> Work:
    """Load the model, read the rows and check them; nothing is written.

    Args:
        plan: A resolved plan.

    Raises:
        UnsayError: anything that would stop a run; of the rows, every problem at once.
    """
    from .data.checks import check_all
    from .models.lm import LM

    if registry.name_of(type(plan.benchmark)) == "custom" and plan.data.forget and plan.teach:
        raise PlanError("teach needs a benchmark that says what to learn", "drop teach, or set benchmark=people")
    nothing = PlanError(
        "nothing to forget: the plan has no forget rows",
        "give forget=FILE.jsonl, or a benchmark that brings its own: benchmark=people-small",
    )
    benchmark, read, notes = with_rows(plan, nothing)
    data = benchmark.data() if read is None else read
    for attack in plan.attacks:
        if not hasattr(attack, "probes"):
            raise PlanError(
                f"{registry.name_of(type(attack))} reads a model and gives no attacked one to measure",
                "take it out of attacks=, and run 'unsay audit' on the finished run",
            )
    for train in (plan.train, *([plan.teach.train] if plan.teach else [])):
        if train.extra:
            from .training.arguments import training_arguments

            training_arguments(train, steps=1, seed=plan.seed, folder=Path(), cpu=True)
    base = LM.load(dataclasses.replace(plan.model, adapter=None))
    notes = notes + check_all(data, base.template, plan.data.max_length, plan.data.truncate)
    return Work(base, benchmark, data, notes)


def with_rows(plan: Plan, nothing: PlanError) -> tuple[Benchmark, ForgetData | None, list[str]]:
    """The plan's benchmark; the user's own rows when it is theirs, and notes about them.

    Args:
        plan: A resolved plan.
        nothing: Raised when the rows should be the user's, and there are none.

    Raises:
        PlanError: `nothing`, or both rows and a benchmark that brings its own.
        DataError: the rows cannot be read.
    """
    name = registry.name_of(type(plan.benchmark))
    if name != "custom":
        if plan.data.forget:
            raise PlanError(f"both benchmark={name} and forget= say what to forget", "drop one of them")
        return plan.benchmark, None, []
    if not plan.data.forget:
        raise nothing
    from .data.read import read_forget_data

    data, notes = read_forget_data(plan.data)
    return plan.benchmark.with_data(data), data, notes


def _metrics(plan: Plan, benchmark: Benchmark) -> tuple[Metric, ...]:
    """The benchmark's, then those of the plan that it does not have."""
    found = {metric_id(metric): metric for metric in benchmark.metrics()}
    for metric in plan.metrics:
        found.setdefault(metric_id(metric), metric)
    return tuple(found.values())


def _judge(run: Run, splits: Mapping[str, Sequence[Example]], metrics: Sequence[Metric]) -> Evaluator:
    from .measure.evaluator import Evaluator, as_planned

    return Evaluator(splits, metrics, store=Store(), run=run, **as_planned(run.plan))


def _measure(run: Run, judge: Evaluator, tag: str, model: Subject) -> None:
    _ask(run, judge, tag, model, release=model.drop)
    model.drop()


def _ask(run: Run, judge: Evaluator, tag: str, model: Subject, **how: Any) -> None:
    # The key keeps the time of the first measuring: what is done already is only read from the store.
    metrics = [encode(metric) for metric in run.plan.metrics]
    key = digest([model.fingerprint, encode(run.plan.benchmark), *metrics])
    with run.stage(f"measure {tag}", key=key) as stage:
        judge.measure(tag, fingerprint=model.fingerprint, load=model.load, **how)
        effort = judge.effort(tag)
        stage.tokens, stage.sweeps = stage.tokens + effort.tokens, str(effort)


def _measure_base(run: Run, judge: Evaluator, base: Subject | None) -> None:
    """What the scores of the others read of the model before it was taught. It stays in memory: it is taught again."""
    if base is not None and judge.wants("base"):
        _ask(run, judge, "base", base, scored=False)


def _forecast(run: Run, work: Work, before: Subject) -> None:
    """Which of the user's rows will be costly; from what measuring *before* has left in the store."""
    from .forecast import write_forecast
    from .metrics.probability import Probability

    splits = {name: rows for name, rows in work.benchmark.splits().items() if name in ("forget", "retain")}
    judge = _judge(run, splits, [Probability(split=name) for name in splits])
    judge.measure("before", fingerprint=before.fingerprint, load=before.load)
    write_forecast(run, judge.scores()["before"], generic=not run.plan.data.retain)


def _write_rows(run: Run, work: Work) -> None:
    """The rows as they were used, and their hashes."""
    for note in work.notes:
        run.note(note)
    source = registry.name_of(type(work.benchmark))
    run.record(data={k: DataRecord(len(v), rows_fingerprint(v), source) for k, v in work.benchmark.splits().items()})
    for name in ("forget", "retain", "holdout"):
        rows = getattr(work.data, name)
        if rows:
            run.write_jsonl(f"data/{name}.jsonl", [to_row(row) for row in rows])


def _attack(run: Run, work: Work, targets: Mapping[str, Subject], before: Subject) -> None:
    """Every attack on the unlearned model and on its control, measured on what the attack asks."""
    results = []
    for attack in run.plan.attacks:
        name = registry.name_of(type(attack))
        file = run.path(f"attack-{name}.json")
        parts = [encode(attack), [t.fingerprint for t in targets.values()], work.data.fingerprint(), run.seed]
        with run.stage(f"attack {name}", key=digest(parts)) as stage:
            if not stage.done:
                points: list[dict[str, Any]] = []
                compares = "before" in inspect.signature(attack.probes).parameters
                try:
                    for tag, target in targets.items():
                        sub = run.sub(f"attack-{name}-{tag}")
                        more = {"before": before.load()} if compares else {}
                        for probe in attack.probes(target.load(), work.data, sub, **more):
                            points += _probe(run, work, tag, probe)
                        target.drop()
                        before.drop()
                except MethodError as error:  # one that cannot work on these rows takes nothing else with it
                    run.note(f"{name} was not run: {error.message}")
                    points = []
                note = "" if "retrained" in targets else "no retrained control: recovery cannot be told from learning"
                axis = getattr(attack, "axis", "strength")
                run.write_json(file.name, {"attack": name, "axis": axis, "points": points, "note": note})
        results.append(json.loads(file.read_text(encoding="utf-8")))
    run.write_json("attacks.json", [result for result in results if result["points"]])


def _probe(run: Run, work: Work, tag: str, probe: Probe) -> list[dict[str, Any]]:
    splits = {**work.benchmark.splits(), **(probe.splits or {})}
    metrics = [m for m in work.benchmark.metrics() if metric_id(m) in _KNOWLEDGE]
    judge = _judge(run, {"forget": splits["forget"]}, metrics)
    judge.measure(tag, probe.lm)
    rows = [score_row(tag, name, score) for name, score in judge.scores()[tag].items()]
    return [
        {"target": tag, "at": probe.at, "label": probe.label, **{k: row[k] for k in ("metric", "value", "ci", "n")}}
        for row in rows
    ]
