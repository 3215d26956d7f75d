"""How much likelier the forget answers are than under models that never saw them (generalised exposure), in nats.

genex(x) = log mean_u p_u(x) − log mean_r p_r(x), u over unlearned models, r over retrained ones, one a seed; the score
is the mean over rows. 0 is exact unlearning, above it something is left, below it too much was taken. If the method
were an ε-unlearner (e^−ε ≤ P[unlearned]/P[retrained] ≤ e^ε for every event), |genex(x)| ≤ ε for every x, with means
over all seeds there can be. `epsilon`, the largest one with the seeds at hand, is a plug-in estimate and no bound on ε:
the noise of few seeds makes it large for exact retraining, too. Read it beside `epsilon_null_low` and
`epsilon_null_high`, the same of each retrained model against the others.

Paper: generalised exposure and ε-unlearner of Baluta, Lamblin, Tarlow, Pedregosa, Dziugaite 2024, Unlearning in- vs.
out-of-distribution data in LLMs under gradient-based method (arXiv:2411.04388); reconstructed from the paper's
abstract.
Limits: with one seed a side it is a log-likelihood ratio of two models and holds the noise of both; expectations over
seeds are of likelihoods, so that the likeliest seed rules. A largest value over rows has no honest interval, and the
null band, of one model against the rest, is a guide unless there are as many unlearned models.
Differs: the formulas are a reconstruction and not checked against the paper's. Sums over tokens, as the definition is
about sequences; `extra` has per_token, epsilon, its null band (from two retrained models on), two_sided = mean |genex|
and the numbers of models.

Two seeds against one:

>>> import numpy as np
>>> round(float(over_seeds(np.log([[0.5], [0.1]]))[0] - over_seeds(np.log([[0.1]]))[0]), 4)
1.0986
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import stats
from ..errors import PlanError
from ._relative import log_p
from ._shared import Floats, broken, by_row, entities, finite, join, left_out, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class Genex:
    """Mean log-ratio of likelihoods, unlearned over retrained models; 0 is wanted."""

    split: str = "forget"
    retrained: tuple[str, ...] = ("retrained",)
    """Tags of models that never saw the rows, one a seed."""
    others: tuple[str, ...] = ()
    """Tags of further unlearned models, of other seeds; the model under measurement is always one."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if not self.retrained or len({"subject", *self.retrained, *self.others}) <= len(self.retrained + self.others):
            raise PlanError(
                "genex needs at least one retrained model, and every tag once", "retrained=[retrained-0,retrained-1]"
            )

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The rows on every model."""
        return tuple(TokenStats(self.split, model=tag) for tag in ("subject", *self.others, *self.retrained))

    def score(self, have: Measurements) -> Score:
        """Nats; `per_example` is each row's; `extra`: epsilon, its null band, two_sided, per_token, models."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = have.rows(self.split)
        sums = [by_row(have.tokens(need), rows, log_p(per_token=False)) for need in self.needs]
        lengths = by_row(have.tokens(self.needs[0]), rows, lambda answer: float(len(answer.logp)))
        ids = sorted(set.intersection(*map(set, sums)))
        if not ids:
            return unscored(f"no row of split {self.split!r} has an answer token")
        for found in sums:
            if reason := broken(found):
                return unscored(reason)
        table = np.array([[found[i] for i in ids] for found in sums])
        split = 1 + len(self.others)
        with np.errstate(invalid="ignore"):
            gaps = over_seeds(table[:split]) - over_seeds(table[split:])
        values = finite(dict(zip(ids, map(float, gaps), strict=True)))
        if not values:
            return unscored("p = 0 for every row, under one of the models")
        mean = stats.mean(values, entities(rows))
        ordered = [values[i] for i in sorted(values)]
        extra = {
            "epsilon": max(map(abs, ordered)),
            "two_sided": math.fsum(map(abs, ordered)) / len(ordered),
            "per_token": math.fsum(values[i] / lengths[i] for i in sorted(values)) / len(ordered),
            "unlearned_models": float(split),
            "retrained_models": float(len(self.retrained)),
        }
        extra |= _null_band(table[split:, [i in values for i in ids]])
        alone = "" if len(self.retrained) > 1 else "one retrained model: nothing says how large epsilon is by chance"
        note = join(left_out(values, rows, "finite log-probability under all models"), mean.note, alone)
        return Score(mean.value, values, mean.n, mean.ci, note, mean.clusters, extra)


def _null_band(retrained: Floats) -> dict[str, float]:
    """What epsilon is for each of [models, n] retrained ones against the others: least and largest."""
    found = []
    for k in range(len(retrained) if len(retrained) > 1 else 0):
        with np.errstate(invalid="ignore"):
            gaps = np.abs(retrained[k] - over_seeds(np.delete(retrained, k, axis=0)))
        found.append(float(gaps[np.isfinite(gaps)].max(initial=0.0)))
    return {"epsilon_null_low": min(found), "epsilon_null_high": max(found)} if found else {}


def over_seeds(log_p: Floats) -> Floats:
    """[n] ln of the mean over models of exp of [models, n] log-probabilities."""
    return np.asarray(np.logaddexp.reduce(log_p, axis=0) - math.log(len(log_p)))
