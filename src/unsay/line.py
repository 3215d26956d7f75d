"""``unsay line RUN``: the line θ(s) = θ0 + s·(θu − θ0) through a run's two models, walked and drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import stats
from .config.plan import ModelSpec
from .data.example import ForgetData
from .errors import PlanError, RunError
from .pipeline import prepare
from .report.line import write_line
from .runs import atomic
from .runs.reporter import NullReporter, Reporter
from .runs.run import Run
from .subjects import plan_models

if TYPE_CHECKING:
    from .training.coefficient import Place

PLACES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
KEEP = 0.95


def line(target: str, places: Sequence[float] = PLACES, *, reporter: Reporter | None = None) -> Path:
    """Probability and extraction strength of the rows to forget and to keep along the line, by teacher forcing alone.

    Args:
        target: The folder of a finished run.
        places: Values of s: 0 is before, 1 after, above 1 extrapolation (UIPE, α = s − 1).
        reporter: Where progress goes.

    Returns:
        The folder ``line`` inside the run, with line.json, line.svg and line.md.

    Raises:
        PlanError: no place is given.
        RunError: not a run folder, or the run has no two models.
        ModelError: the models are not two states of one (what is a patch on the weights leaves no line to walk).
    """
    from .models.line import Line
    from .models.lm import LM
    from .training.coefficient import calibrated, inspect

    if not places:
        raise PlanError("no place on the line is given", "--at 0,0.5,1,1.5")
    folder = Path(target).expanduser()
    models, data, limit = ends(folder)
    reporter = reporter or NullReporter()
    bar = reporter.task("line", len(places) + 1 + ("retrained" in models), "models")
    try:
        line = Line(LM.load(models["before"]), LM.load(models["after"]))
        walked = []
        for s in sorted(set(places)):
            walked.append(inspect(line.at(s), data, s, max_length=limit))
            bar.advance(1)
        found = {
            "kept_rows": "utility" if data.utility else "retain",
            "calibrated": {"keep": KEEP, "s": calibrated(line, data, keep=KEEP, max_length=limit)},
            "points": [_numbers(place, data) for place in walked],
        }
        bar.advance(1)
        if "retrained" in models:
            found["retrained"] = _numbers(inspect(LM.load(models["retrained"]), data, max_length=limit), data)
            bar.advance(1)
    finally:
        bar.finish()
    out = folder / "line"
    out.mkdir(exist_ok=True)
    atomic.write_json(out / "line.json", found)
    write_line(out)
    return out


def ends(folder: Path) -> tuple[dict[str, ModelSpec], ForgetData, int]:
    """How to load the models of a finished run, by tag, the rows it worked on, and at how many tokens they are cut.

    Raises:
        RunError: not a run folder, or the run has no two models.
    """
    run = Run.open(folder)
    models = plan_models(run.plan, run.manifest.models, folder)
    if not {"before", "after"} <= models.keys():
        raise RunError(f"{folder} has no two models to draw a line through", "finish the run first")
    return models, prepare(dataclasses.replace(run.plan, attacks=())).data, run.plan.data.max_length


def _numbers(place: Place, data: Any) -> dict[str, Any]:
    """Means with intervals, clustered by entity where rows name one."""
    entities = {row.id: row.entity for row in (*data.forget, *data.retain, *data.utility)}
    return {"s": place.s, **{name: _estimate(values, entities) for name, values in place.values.items()}}


def _estimate(values: Mapping[str, float], entities: Mapping[str, str]) -> dict[str, Any]:
    found = stats.mean(values, entities, bounds=(0.0, 1.0))
    return {"value": found.value, "ci": found.ci, "n": found.n, "clusters": found.clusters, "note": found.note}
