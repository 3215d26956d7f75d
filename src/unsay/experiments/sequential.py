"""Requests to forget, one after another, by any method: is what was forgotten first still gone after the last one?

The forget rows are dealt into requests, all entities in turn. Every method forgets one request after the other, each
from the model that the last one left; after each, all requests are measured again, those that were not made yet as
well, and utility. Beside it the batch: all requests at once, from the model before. Methods that can are told of their
earlier requests (``method.previous``), and the subjects of edits are found among all forget rows, so that a row hangs
on the same in either. At the end, what comes back when control tokens are banned and when answers are begun.

Paper: the sequential and the batch setting of UniErase (arXiv:2505.15674), for every method alike.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.decode import resolved
from ..config.plan import Plan
from ..data.example import Example, ForgetData, rows_fingerprint
from ..editing.subjects import pinned
from ..errors import CollapseError, DamagedError, PlanError
from ..metrics.forgetting_effect import ForgettingEffect
from ..metrics.probability import Probability
from ..metrics.score import Metric, metric_id
from ..naming import digest
from ..pipeline import Work, prepare
from ..report.sequential import write_sequential
from ..runs import atomic
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..subjects import Subject, Subjects
from ..training.trainer import discard_checkpoints
from ._contenders import (
    Contender,
    about,
    answer_tokens,
    leaks,
    leaks_before,
    measured,
    off_target,
    on_target,
    unlearn,
    utility,
)

if TYPE_CHECKING:
    from ..models.lm import LM


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What all walks of one experiment share."""

    data: ForgetData
    parts: tuple[tuple[Example, ...], ...]
    """The requests."""
    before: Subject
    splits: Mapping[str, Sequence[Example]]
    metrics: tuple[Metric, ...]

    @property
    def rows(self) -> list[list[object]]:
        """What the requests depend on."""
        return [[rows_fingerprint(part), [row.meta["subject"] for row in part]] for part in self.parts]

    def scores(self, run: Run, tag: str, **model: Any) -> dict[str, Any]:
        return measured(run, self.splits, self.metrics, tag, **model)


def sequential(
    plan: Plan,
    methods: Sequence[Contender],
    *,
    requests: int = 10,
    rows: int = 4,
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Walk every method through the requests, measure, draw. A rerun skips the requests that are done.

    Args:
        plan: Model, benchmark (or rows), teach and train; its method is not used.
        methods: Who forgets.
        requests: How many requests are made.
        rows: Forget rows of one request.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan.

    Returns:
        The run folder: sequential.json, .md, .html and .svg; ``METHOD/request-N/model`` of each method's last request.

    Raises:
        PlanError: too few forget rows, or an adapter in the plan.
        DamagedError: the model that a walk should go on from is not there any more.
    """
    plan = resolved(plan)
    if plan.model.adapter is not None:
        raise PlanError("requests one after another change whole weights", "leave model.adapter out")
    work = prepare(plan)
    parts = cut(pinned(work.data.forget), requests, rows)
    asked = tuple(row for part in parts for row in part)
    splits = {**work.benchmark.splits(), "forget": asked, **{f"request-{i}": p for i, p in enumerate(parts, 1)}}
    with Run.start(plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        models = Subjects(run, work.base, work.benchmark.taught() if plan.teach else ())
        bench = _Bench(work.data, parts, models.before(), splits, _metrics(work, len(parts)))
        before = bench.scores(run, "before", fingerprint=bench.before.fingerprint, load=bench.before.load)
        bench.before.drop()
        found: dict[str, Any] = {"requests": requests, "rows": rows, "utility": metric_id(utility(work))}
        found |= {"before": before, "leaks": leaks_before(run, bench.before, [asked])[0], **about(asked), "walks": []}
        for contender in methods:
            steps = _walk(run, bench, contender)
            found["walks"].append({"method": contender.label, "steps": steps, "batch": _batch(run, bench, contender)})
            run.write_json("sequential.json", found)  # so that there is something to see before the end
            write_sequential(run.dir)
    return run.dir


def cut(rows: Sequence[Example], requests: int, size: int) -> tuple[tuple[Example, ...], ...]:
    """Requests of equal size, to which the entities give a row each in turn.

    Raises:
        PlanError: fewer than two requests, or more than there are rows for.
    """
    if requests < 2 or size < 1:
        raise PlanError(f"{requests} requests of {size} rows are no sequence", "--requests 10 --rows-a-request 4")
    if requests * size > len(rows):
        raise PlanError(
            f"{requests} requests of {size} rows need {requests * size} forget rows, and there are {len(rows)}",
            f"--requests {len(rows) // size}" if len(rows) >= 2 * size else "--rows-a-request 1",
        )
    piles: dict[str, list[Example]] = {}
    for row in rows:
        piles.setdefault(row.entity or row.id, []).append(row)
    dealt = [row for turn in zip_longest(*piles.values()) for row in turn if row is not None]
    return tuple(tuple(dealt[i * size : (i + 1) * size]) for i in range(requests))


def _metrics(work: Work, requests: int) -> tuple[Metric, ...]:
    words = answer_tokens(work)
    every = ["forget", *(f"request-{i}" for i in range(1, requests + 1))]
    return (
        *(ForgettingEffect(split=split, max_new_tokens=words) for split in every),
        *(Probability(split=split) for split in every),
        *on_target(),
        *off_target(work.benchmark.splits()),
        Probability(split="retain"),
        utility(work),
    )


def _walk(run: Run, bench: _Bench, contender: Contender) -> list[dict[str, Any]]:
    """What was measured after each request; fewer than there are where the model broke."""
    steps: list[dict[str, Any]] = []
    label, last = contender.label, len(bench.parts)
    key = contender.key(bench.before.fingerprint, bench.data.fingerprint(), run.seed, run.plan.train, bench.rows)
    previous: Path | None = None
    for number, part in enumerate(bench.parts, 1):
        key = digest([key, number])
        sub = run.sub(f"{label}/request-{number}", train=contender.train)
        file = sub.path("found.json")
        with run.stage(f"{label} request {number}", key=key) as stage:
            if not stage.done:
                sub.write_json(file.name, {"request": number, **_step(sub, bench, contender, part, previous)})
        if previous is not None:
            atomic.discard(previous / "model")  # the next one is there
        previous = sub.dir
        step = json.loads(file.read_text(encoding="utf-8"))
        steps.append(step)
        if "collapsed" in step:
            run.note(f"{label} ends at request {number} of {last}: {step['collapsed']}")
            break
    return steps


def _step(
    sub: Run, bench: _Bench, contender: Contender, part: tuple[Example, ...], previous: Path | None
) -> dict[str, Any]:
    method = contender.method
    if previous is not None and hasattr(method, "previous"):
        method = dataclasses.replace(method, previous=str(previous))  # type: ignore[type-var]
    data = dataclasses.replace(bench.data, forget=part)
    try:
        after, took = unlearn(sub, method, _start(bench, previous), data)
    except CollapseError as error:
        return {"collapsed": error.message}
    after.save(sub.path("model"))
    discard_checkpoints(sub)
    found = {**took, "scores": bench.scores(sub, "after", lm=after)}
    if part is bench.parts[-1]:
        found["leaks"] = leaks(sub, after, bench.splits["forget"], "after")
    return found


def _start(bench: _Bench, previous: Path | None) -> LM:
    """The model that a request starts from."""
    from ..models.lm import LM

    if previous is None:
        lm = bench.before.load()
        bench.before.drop()
        return lm
    if not (previous / "model").is_dir():
        raise DamagedError(
            f"{previous / 'model'} is gone, and later requests go on from it", f"remove {previous.parent} and run again"
        )
    return LM.load(dataclasses.replace(bench.before.spec, path=str(previous / "model"), revision=None))


def _batch(run: Run, bench: _Bench, contender: Contender) -> dict[str, Any]:
    """All requests at once."""
    data = dataclasses.replace(bench.data, forget=bench.splits["forget"])
    key = contender.key(bench.before.fingerprint, data.fingerprint(), run.seed, run.plan.train, bench.rows)
    sub = run.sub(f"{contender.label}/batch", train=contender.train)
    file = sub.path("found.json")
    with run.stage(f"{contender.label} batch", key=key) as stage:
        if not stage.done:
            try:
                after, took = unlearn(sub, contender.method, _start(bench, None), data)
                discard_checkpoints(sub)
                found = {**took, "scores": bench.scores(sub, "after", lm=after)}
                found["leaks"] = leaks(sub, after, bench.splits["forget"], "after")
            except CollapseError as error:
                found = {"collapsed": error.message}
            sub.write_json(file.name, found)
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return made
