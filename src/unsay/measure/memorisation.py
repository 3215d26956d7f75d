"""How much of a row a model knows from the row itself (memorisation), and how hard it is without it (difficulty).

mem(x) = E_{S∋x}[M(θ_S, x)] − E_{S∌x}[M(θ_S, x)]      diff(x) = −E_{S∌x}[M(θ_S, x)]

M is the mean log-probability per token, S random halves of the rows; loss with the row = diff − mem. The cheap proxy
takes one model of each kind: mem ≈ NLL_without(x) − NLL_with(x), less the same of rows like x that neither saw: what a
model learned of these is the form they share with x (a template, a domain), not x.

Paper: Feldman & Zhang 2020 (arXiv:2008.03703); counterfactual memorisation of language models: Zhang et al. 2021
(arXiv:2112.12938).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

CELLS = ("low memorisation, easy", "low memorisation, hard", "high memorisation, easy", "high memorisation, hard")
"""Names of the cells of `cells`, low and high being below and above the median."""


@dataclass(frozen=True)
class Memorisation:
    """Of one row, nats per token."""

    value: float
    difficulty: float
    """Loss of models that did not see it."""
    error: float
    """Standard error of `value` over models; NaN where a side has one model."""


def half_samples(rows: int, models: int, seed: int) -> NDArray[np.bool_]:
    """[models, rows] which rows each model is taught: half of them, every row by exactly half of the models.

    Models come in pairs whose halves complement each other.

    Raises:
        DataError: an odd number of models, or fewer than two.
    """
    if models < 2 or models % 2:
        raise DataError(f"half-samples come in pairs of models, got {models} models", "an even number, 20 is usual")
    rng = np.random.default_rng(seed)
    found = np.zeros((models, rows), dtype=bool)
    for k in range(0, models, 2):
        found[k, rng.permutation(rows)[: rows // 2]] = True
        found[k + 1] = ~found[k]
    return found


def counterfactual(
    log_p: Sequence[Mapping[str, float]], taught: Sequence[frozenset[str] | set[str]]
) -> dict[str, Memorisation]:
    """Memorisation of every row that some models saw and others did not.

    Args:
        log_p: Of each model: mean log-probability per token by example id, nats; at least one row.
        taught: Ids that each model was taught.

    Raises:
        DataError: there are not as many sets as models, or a value is not finite.
    """
    if len(log_p) != len(taught):
        raise DataError(f"{len(log_p)} models were measured and {len(taught)} sets of rows given, expected as many")
    found = {}
    for i in sorted(set().union(*log_p)):
        sides = [
            [of[i] for of, rows in zip(log_p, taught, strict=True) if (i in rows) is seen] for seen in (True, False)
        ]
        if not all(sides):
            continue
        if not all(map(math.isfinite, sides[0] + sides[1])):
            raise DataError(f"row {i} has a log-probability that is not finite", "leave it out")
        inside, outside = map(np.array, sides)
        spread = [side.var(ddof=1) / len(side) if len(side) > 1 else math.nan for side in (inside, outside)]
        value = float(inside.mean() - outside.mean())
        found[i] = Memorisation(value, -float(outside.mean()), math.sqrt(sum(spread)))
    return found


def proxy(
    knowing: Mapping[str, float], ignorant: Mapping[str, float], alike: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Memorisation]:
    """Memorisation from one model that was taught the rows and one that was not.

    Args:
        knowing: Mean log-probability per token by example id under the one.
        ignorant: Under the other: a retrained model, or the base model that was taught.
        alike: By id of a row: ids of rows of its kind that neither model was taught. None takes nothing off, which
            counts a form that only the one model has seen as memory of the row.

    Returns:
        Of every row that both models know, and that `alike` names unless it is None.
    """
    found = {}
    for i in sorted(knowing.keys() & ignorant.keys() & (knowing if alike is None else alike).keys()):
        others = alike[i] if alike else ()
        level = ignorant[i] + (fmean(knowing[j] - ignorant[j] for j in others) if others else 0.0)
        found[i] = Memorisation(knowing[i] - level, -level, math.nan)
    return found


def cells(scores: Mapping[str, Memorisation]) -> dict[str, str]:
    """Which of `CELLS` each row lies in, by the medians of memorisation and difficulty; ties are low."""
    if not scores:
        return {}
    middle = [float(np.median([getattr(s, key) for s in scores.values()])) for key in ("value", "difficulty")]
    return {i: CELLS[2 * (s.value > middle[0]) + (s.difficulty > middle[1])] for i, s in scores.items()}
