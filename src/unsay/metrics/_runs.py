"""Several sampled runs of one question: what the spread between them is, beside the mean over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from .needs import Sampling

T = TypeVar("T")


def by_run(found: Mapping[str, Sequence[T]], sampling: Sampling | None) -> list[dict[str, list[T]]]:
    """What belongs to each run, by example id; nothing where there is one run only.

    Args:
        found: One entry per generation of each row, runs outermost, as `Generations` answers.
        sampling: Of the need.
    """
    if sampling is None or sampling.runs < 2:
        return []
    made: list[dict[str, list[T]]] = []
    for run in range(sampling.runs):
        sizes = {i: len(given) // sampling.runs for i, given in found.items()}
        made.append({i: list(given[run * sizes[i] : (run + 1) * sizes[i]]) for i, given in found.items() if sizes[i]})
    return made


def spread(values: Sequence[float]) -> dict[str, float]:
    """``run_1``, ``run_2``, … and ``run_sd``, their standard deviation (n − 1); nothing for fewer than two runs."""
    if len(values) < 2 or not np.isfinite(values).all():
        return {}
    return {f"run_{k}": float(v) for k, v in enumerate(values, 1)} | {"run_sd": float(np.std(values, ddof=1))}


def mean_spread(found: Mapping[str, Sequence[float]], sampling: Sampling | None) -> dict[str, float]:
    """`spread` of the mean over rows of each run."""
    runs = [run for run in by_run(found, sampling) if run]
    return spread([float(np.mean([np.mean(given) for given in run.values()])) for run in runs])
