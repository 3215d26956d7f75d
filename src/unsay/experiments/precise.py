"""One example to forget, and what else goes with it: the same subject's other questions, the rest, by any method.

A few forget rows of as many subjects as there are, each forgotten on its own from the model before. Measured: the row
and its rewordings; what comes back of it when control tokens are banned and when the answer is begun; the other forget
rows about the same subject, which the method is neither asked to forget nor given to keep, and which should stay;
retain rows and utility. The subjects that edits hang on are found among all forget rows.

Paper: the precise setting of UniErase (arXiv:2505.15674), for every method alike.
Differs: the same subject's other questions are the point; the paper does not ask them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ..config.decode import resolved
from ..config.plan import Plan
from ..data.example import Example
from ..editing.subjects import pinned
from ..errors import CollapseError, PlanError
from ..metrics.forgetting_effect import ForgettingEffect
from ..metrics.paraphrase_probability import ParaphraseProbability
from ..metrics.probability import Probability
from ..metrics.refusal_rate import RefusalRate
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, metric_id
from ..naming import derive_seed, digest
from ..pipeline import Work, prepare
from ..report.precise import write_precise
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..subjects import Subject, Subjects
from ..training.trainer import discard_checkpoints
from ._contenders import (
    Contender,
    about,
    answer_tokens,
    anywhere,
    leaks,
    leaks_before,
    measured,
    off_target,
    on_target,
    unlearn,
    utility,
)


@dataclass(frozen=True)
class _Bench:
    """What all trials of one experiment share."""

    work: Work
    before: Subject
    metrics: tuple[Metric, ...]

    def scores(self, run: Run, row: Example, tag: str, **model: Any) -> dict[str, Any]:
        about = {"forget": [row], "subject": siblings(row, self.work.data.forget)}
        splits = {**self.work.benchmark.splits(), **about}
        return measured(run, splits, self.metrics, tag, **model)


def precise(
    plan: Plan,
    methods: Sequence[Contender],
    *,
    rows: int = 6,
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Forget every chosen row on its own with every method, measure, tell. A rerun skips the trials that are done.

    Args:
        plan: Model, benchmark (or rows), teach and train; its method is not used.
        methods: Who forgets.
        rows: How many rows are chosen, from all subjects in turn; the plan's seed says which.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan.

    Returns:
        The run folder: precise.json, .md and .html.

    Raises:
        PlanError: no forget row names a subject (``entity``) that others name, too, or an adapter in the plan.
    """
    plan = resolved(plan)
    if plan.model.adapter is not None:
        raise PlanError("one example at a time changes whole weights", "leave model.adapter out")
    work = prepare(plan)
    chosen = choose(pinned(work.data.forget), rows, plan.seed)
    with Run.start(plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        models = Subjects(run, work.base, work.benchmark.taught() if plan.teach else ())
        bench = _Bench(work, models.before(), _metrics(work))
        found: dict[str, Any] = {"utility": metric_id(utility(work)), "rows": [], **about(chosen), "walks": []}
        names = list(dict.fromkeys(row.entity for row in chosen))
        for row, leaking in zip(chosen, leaks_before(run, bench.before, [[row] for row in chosen]), strict=True):
            before = bench.scores(run, row, "before", fingerprint=bench.before.fingerprint, load=bench.before.load)
            number = names.index(row.entity) + 1
            found["rows"].append({"id": row.id, "subject": number, "before": before, "leaks": leaking})
        bench.before.drop()
        for contender in methods:
            trials = [_trial(run, bench, contender, row) for row in chosen]
            found["walks"].append({"method": contender.label, "trials": trials})
            run.write_json("precise.json", found)  # so that there is something to see before the end
            write_precise(run.dir)
    return run.dir


def siblings(row: Example, rows: Sequence[Example]) -> list[Example]:
    """The other rows about the same subject."""
    return [other for other in rows if other.entity == row.entity and other.id != row.id]


def choose(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """`count` rows, or all that do: one of each subject in turn; only subjects of at least two rows.

    Raises:
        PlanError: there is no such subject, or `count` is not positive.
    """
    if count < 1:
        raise PlanError(f"--rows is {count}, expected at least 1", "--rows 6")
    by_subject: dict[str, list[Example]] = {}
    for row in rows:
        if row.entity and row.question and siblings(row, rows):
            by_subject.setdefault(row.entity, []).append(row)
    if not by_subject:
        raise PlanError(
            "no two forget rows name the same subject, so that nothing can be asked about what goes with one of them",
            "give the rows an entity",
        )
    random = Random(derive_seed(seed, "precise"))
    piles = [random.sample(pile, len(pile)) for pile in by_subject.values()]
    turns = [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)]
    return turns[:count]


def _metrics(work: Work) -> tuple[Metric, ...]:
    words = answer_tokens(work)
    return (
        ForgettingEffect(max_new_tokens=words),
        ForgettingEffect(split="subject", max_new_tokens=words),
        Probability(),
        ParaphraseProbability(reworded="question", label="probability-asked-otherwise"),
        Probability(split="subject"),
        Rouge(split="subject", max_new_tokens=words),
        RefusalRate(split="subject", max_new_tokens=words),
        *on_target(),
        *anywhere("subject"),
        *off_target(work.benchmark.splits()),
        Probability(split="retain"),
        utility(work),
    )


def _trial(run: Run, bench: _Bench, contender: Contender, row: Example) -> dict[str, Any]:
    """One row forgotten by one method."""
    data = dataclasses.replace(bench.work.data, forget=(row,))
    about_it = [data.fingerprint(), row.meta["subject"]]
    key = contender.key(bench.before.fingerprint, about_it, run.seed, run.plan.train)
    sub = run.sub(f"{contender.label}/row-{digest([row.id, row.prompt, row.answer], 6)}", train=contender.train)
    file = sub.path("found.json")
    with run.stage(f"{contender.label} row {sub.dir.name[4:]}", key=key) as stage:
        if not stage.done:
            try:
                after, took = unlearn(sub, contender.method, bench.before.load(), data)
                discard_checkpoints(sub)
                found = {**took, "scores": bench.scores(sub, row, "after", lm=after)}
                found["leaks"] = leaks(sub, after, [row], "after")
            except CollapseError as error:
                run.note(f"{contender.label} broke the model on one row: {error.message}")
                found = {"collapsed": error.message}
            sub.write_json(file.name, {"id": row.id, **found})
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return made
