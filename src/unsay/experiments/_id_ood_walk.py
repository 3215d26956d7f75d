"""One walk of gradient ascent on one forget set, looked at step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..combiners._combiner import inner
from ..data.example import Example, ForgetData
from ..errors import CollapseError
from ..measure.working import resolve_precision, working
from ..methods.grad_ascent import GradAscent
from ..metrics.exposure import bits, chance
from ..training.batch import encode_rows
from ..training.full_gradient import full_gradient, mean_nll, sample, working_copy
from ..training.scan import answer_logps, scan
from ..training.trainer import discard_checkpoints
from ._id_ood_world import World

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

EVERY, LATER = 10, 3
"""Steps up to which each is measured, and how many lie between two later ones."""
_WATCHED = 96
"""Retain rows that are watched, and that give the gradient compared with."""


class Loss(NamedTuple):
    """Of one row under one model."""

    nll: float
    """Mean over its tokens, nats."""
    tokens: int


def losses(lm: LM, rows: Sequence[Example], precision: str = "auto") -> dict[str, Loss]:
    """Teacher-forced loss of every row by id: one forward each, rows of similar length together."""
    encoded = encode_rows(rows, lm.template)
    with working(lm, resolve_precision(precision, lm.device)) as model:
        found = scan(model.model, encoded, lm.template.pad_id, answer_logps)
    return {
        row.id: Loss(-float(x.mean(dtype=np.float64)), len(x)) for row, x in zip(rows, found, strict=True) if len(x)
    }


def walk(
    lm: LM, forget: Sequence[Example], world: World, retrained: Mapping[str, Loss], run: Run
) -> list[dict[str, Any]]:
    """Gradient ascent on `forget` alone, all of it one batch, and what every looked-at step has.

    A walk that was stopped starts anew.

    Args:
        lm: The model that was taught everything; not changed.
        forget: Candidates of `world`.
        world: Where their references and the rows to measure performance on come from.
        retrained: Losses of the rows under a model that was taught none of the candidates.
        run: ``train.epochs`` steps are taken; progress and signals.

    Returns:
        A point for each looked-at step, the first being step 0, the last the last one; see `point`. Ends early where
        the model breaks.
    """
    watched = watch(world)
    points = [point(lm, 0, forget, watched, world, retrained, run.train.precision)]
    last = round(run.train.epochs)

    def look(step: int, now: Callable[[], LM]) -> None:
        if step <= EVERY or step % LATER == 0 or step == last:
            found = point(now(), step, forget, watched, world, retrained, run.train.precision)
            if not all(math.isfinite(found[name]) for name in ("test", "retain", "forget", "relex")):
                raise CollapseError(f"a loss is not finite at step {step}", "lower train.lr")
            points.append(found)

    within = run.sub("ascent", each_epoch=look)
    # the points are in memory alone: from a checkpoint the walk would go on without those before it
    discard_checkpoints(within)
    try:
        GradAscent().unlearn(lm, ForgetData(forget=list(forget)), within)
    except CollapseError as error:
        run.note(f"gradient ascent ends early: {error.message}")
    return points


def watch(world: World) -> list[Example]:
    """The retain rows that are watched."""
    return sample(world.retain, _WATCHED, 0)


def point(
    lm: LM,
    step: int,
    forget: Sequence[Example],
    watched: Sequence[Example],
    world: World,
    retrained: Mapping[str, Loss],
    precision: str,
) -> dict[str, Any]:
    """What one model knows of the forget rows, two-sided, and how good it is.

    Returns:
        ``step``; ``exposure`` and ``chance``, bits; ``relex`` and ``genex``, nats per token; ``forget``,
        ``test``, ``retain``, mean losses; ``rows``: bits by id. Every row is compared with references of its own kind.
    """
    source = {row.id: name for name, part in world.planted.items() for row in part.rows}
    kinds = dict.fromkeys(source[row.id] for row in forget)
    references = {kind: world.planted[kind].references for kind in kinds}
    asked = [*forget, *(row for rows in references.values() for row in rows), *world.test, *watched]
    found = losses(lm, asked, precision)
    exposures: dict[str, float] = {}
    relex, expected = [], []
    for kind, rows in references.items():
        level = np.array([-found[row.id].nll for row in rows])
        ours = {row.id: -found[row.id].nll for row in forget if source[row.id] == kind}
        exposures |= bits(ours, level)
        relex += [x - float(level.mean()) for x in ours.values()]
        expected += [chance(len(level))] * len(ours)
    mean = {
        name: fmean(found[row.id].nll for row in rows) for name, rows in (("test", world.test), ("retain", watched))
    }
    return {
        "step": step,
        "exposure": fmean(exposures.values()),
        "chance": fmean(expected),
        "relex": fmean(relex),
        "genex": fmean(retrained[row.id].nll - found[row.id].nll for row in forget),
        "forget": fmean(found[row.id].nll for row in forget),
        **mean,
        "rows": exposures,
    }


def cosines(lm: LM, sets: Mapping[str, Sequence[Example]], world: World, run: Run) -> dict[str, float]:
    """Cosine of the loss gradient of each set with that of retain rows, all weights; in [−1, 1].

    Raises:
        CollapseError: a gradient is not finite.
    """
    groups = {"": watch(world), **sets}
    encoded = {name: encode_rows(rows, lm.template) for name, rows in groups.items()}
    found = {}
    with working_copy(lm, encoded) as subject:
        for name, rows in encoded.items():
            named = full_gradient(subject, {"rows": rows}, mean_nll("rows"), run, label="")
            found[name] = [named[key].clone() for key in sorted(named)]
    kept = found.pop("")
    lengths = {name: math.sqrt(inner(g, g) * inner(kept, kept)) for name, g in found.items()}
    return {name: inner(g, kept) / lengths[name] if lengths[name] else 0.0 for name, g in found.items()}
