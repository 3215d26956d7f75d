"""What several metrics do alike: reasons for having no number, means over rows, losses of answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import stats
from ..data.example import Example
from ..errors import PlanError
from .have import AnswerStats, Measurements, Tokens
from .needs import Need
from .score import Score, unscored

Floats = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]


def obstacle(have: Measurements, *needs: Need) -> str:
    """Why `needs` cannot be read: a split without rows, or the evaluator's reason; "" when nothing is in the way."""
    for need in needs:
        if not have.rows(need.split):
            return f"the benchmark has no rows in split {need.split!r}"
    return have.why_missing(*needs)


def losses(answers: Sequence[AnswerStats]) -> Floats:
    """[J] mean token loss of each answer in nats; answers without a token are left out."""
    return np.array([a.mean_nll for a in answers if len(a.logp)], dtype=np.float64)


def by_row(answers: Tokens, rows: Sequence[Example], value: Callable[[AnswerStats], float]) -> dict[str, float]:
    """`value` of each row's answers, averaged, by id; rows without an answer token are absent.

    NaN where a log-probability is NaN: no comparison with NaN is true, so all ranks of a broken model are 0 and would
    otherwise pass for perfect memorisation.
    """
    found = {row.id: [a for a in answers.get(row.id, ()) if len(a.logp)] for row in rows}
    return {
        i: float(np.mean([math.nan if np.isnan(a.logp).any() else value(a) for a in given]))
        for i, given in found.items()
        if given
    }


def entities(*groups: Sequence[Example]) -> dict[str, str]:
    """Entity by example id, over all groups."""
    return {row.id: row.entity for rows in groups for row in rows}


def broken(values: Mapping[str, float]) -> str:
    """Says how many values are NaN, "" when none is. Infinite values are numbers here: p = 0 has infinite loss."""
    bad = sum(math.isnan(v) for v in values.values())
    return f"{bad} of {len(values)} rows gave no number: the model's log-probabilities are not finite" if bad else ""


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """The finite ones of `values`: what can be written beside an example."""
    return {i: v for i, v in values.items() if math.isfinite(v)}


def left_out(values: Mapping[str, float], rows: Sequence[Example], lacking: str) -> str:
    """Says how many rows have no value because they lack something, "" when none does."""
    total = len({row.id for row in rows})
    return f"{total - len(values)} of {total} rows left out: no {lacking}" if len(values) < total else ""


def join(*notes: str) -> str:
    """Notes in order, without empty ones and repeats."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def mean_score(
    values: Mapping[str, float],
    rows: Sequence[Example],
    *,
    lacking: str,
    note: str = "",
    extra: Mapping[str, float] | None = None,
) -> Score:
    """Mean of values in [0, 1] over rows, with its clustered interval.

    Args:
        values: By example id; rows that cannot be scored are absent.
        rows: The split.
        lacking: What an absent row lacks, for the note.
        note: Said before the other notes.
        extra: Companions of the value.
    """
    if not values:
        return unscored(f"no row of the split has {lacking}")
    if problem := broken(values):
        return unscored(problem)
    found = stats.mean(values, entities(rows), bounds=(0.0, 1.0))
    notes = join(note, left_out(values, rows, lacking), found.note)
    return Score(found.value, dict(values), found.n, found.ci, notes, found.clusters, dict(extra or {}))


def check_share(name: str, value: float) -> None:
    """Raises `PlanError` unless 0 < value ≤ 1."""
    if not 0 < value <= 1:
        raise PlanError(f"{name} must be a share in (0, 1], got {value}", f"for example {name}=0.2")
