"""How much likelier the forget answers are than answers never seen, under this model alone (relative exposure).

log-likelihood: mean_i log p(x_i) − mean_z log p(z); likelihood: mean_i log p(x_i) − log mean_z p(z); rank: mean
exposure − its expectation for a row like the m references z, bits. 0 is what a row has that the references could
replace: above it the rows still show, below it they were pushed too far.

Paper: relative exposure of Baluta, Lamblin, Tarlow, Pedregosa, Dziugaite 2024, Unlearning in- vs. out-of-distribution
data in LLMs under gradient-based method (arXiv:2411.04388); reconstructed from the paper's abstract.
Limits: rests on references that are exchangeable with the forget rows before either was trained on. For natural text
match them by length and difficulty (`unsay.data.canaries.matched`), or name a model that saw neither with `calibrate`.
Differs: the formulas are a reconstruction and not checked against the paper's. Per token by default, as natural answers
differ in length (`per_token=False`: of whole sequences, as the abstract has it). Of sums the likelihood estimator is
ruled by the single easiest reference: with references of 60 ± 5 nats a typical row scores about −9 to −12 nats; per
token it is close to log-likelihood, which is the default. It is there to be compared.

>>> rowwise({"x": -2.0}, [-1.0, -3.0], "log-likelihood")
{'x': 0.0}
>>> round(rowwise({"x": -2.0}, [-1.0, -3.0], "likelihood")["x"], 3)
-0.434
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import PlanError
from ..resampling import notes_of, why_none
from ._membership import unusable
from ._relative import contrast, log_p, rowwise
from ._shared import by_row, entities, finite, join, left_out, obstacle
from .have import Measurements
from .needs import TokenStats
from .score import Score, unscored

Estimator = Literal["log-likelihood", "likelihood", "rank"]


@dataclass(frozen=True, kw_only=True)
class Relex:
    """Relative exposure of the forget rows: nats, or bits above chance by rank; 0 is wanted."""

    split: str = "forget"
    others: str = "holdout"
    """The rows never seen."""
    estimator: Estimator = "log-likelihood"
    calibrate: str = ""
    """Tag of a model that saw neither kind of row (``base``, ``retrained``): all is said of the ratio to it."""
    per_token: bool = True
    """Compare mean token log-probabilities; False compares their sums."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.estimator not in get_args(Estimator):
            raise PlanError(
                f"estimator is {self.estimator!r}, expected {', '.join(get_args(Estimator))}", "estimator=rank"
            )

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Both splits on the subject, and on the model to calibrate by."""
        models = ("subject", *([self.calibrate] if self.calibrate else []))
        return tuple(TokenStats(split, model=model) for model in models for split in (self.split, self.others))

    def score(self, have: Measurements) -> Score:
        """`per_example`: each row's; `extra`: two_sided = |value|, the other estimators' values, references."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows = {split: have.rows(split) for split in (self.split, self.others)}
        found = {need: by_row(have.tokens(need), rows[need.split], log_p(self.per_token)) for need in self.needs}
        sides = {split: found[TokenStats(split)] for split in rows}
        for split in rows if self.calibrate else ():
            base = found[TokenStats(split, model=self.calibrate)]
            # p = 0 under both models has no ratio
            ends = {i: (x, base[i]) for i, x in sides[split].items() if np.isfinite(base.get(i, np.nan))}
            sides[split] = {i: x - y for i, (x, y) in ends.items()}
        if reason := unusable(sides):
            return unscored(reason)
        ours, others = (finite(sides[split]) for split in (self.split, self.others))
        if not ours or not others:
            return unscored("no row, or no reference, has a finite log-probability")
        named = entities(*rows.values())
        value, ci, strata = contrast(ours, others, named, self.estimator)
        extra = {"two_sided": abs(value), "references": float(len(others))}
        for kind in get_args(Estimator):
            if kind != self.estimator:
                per_row = rowwise(ours, np.array([others[i] for i in sorted(others)]), kind)
                extra[kind.replace("-", "_")] = float(np.mean([per_row[i] for i in sorted(per_row)]))
        lacking = "finite log-probability"
        about = notes_of(strata[0].note, "" if ci else why_none(strata))
        note = join(left_out(ours, rows[self.split], lacking), left_out(others, rows[self.others], lacking), about)
        per_row = rowwise(ours, np.array([others[i] for i in sorted(others)]), self.estimator)
        return Score(value, per_row, len(ours), ci, note, strata[0].clusters, extra)
