"""How far along the way from the original to a model that never saw it each forget row has come (IAM).

With the signal r(p) = −log(ε₁ − log(p + ε₂)) of the answer's probability p under the original o, the unlearned u and an
out model s, and levels α ∈ [0, 1): m_α = r_s + α·(r_o − r_s) is what a partly unlearned model would show; a Gumbel law
skewed to the right around it (by moments: β = √6·σ/π, μ = m_α − γ·β, σ over all rows) gives the score of still being
in, Σ α₊·F(r_u; μ, β) / Σ α₊; completeness = 1 − score, averaged over the rows. α₊ is the next level: levels near the
original weigh more.

Paper: IAM (arXiv:2506.06112), with one out model.
Limits: relative to the spread of the rows, so a few rows say little; saturates at 1 when forgetting goes too far, which
`gap` = mean (r_u − r_s) shows as a negative number; the original and the out model themselves score `original` and
`out`, not 0 and 1.
Differs: reconstructed from the paper's description. p itself instead of the 1 − p of the published code for language
models, and σ over the whole split instead of batches of 64, so that no row's score depends on which rows it came with
in a batch.

Two rows whose spread is small against the way from 0 to 1: beyond its ends nothing and everything is done:

>>> import numpy as np
>>> out = np.array([0.0, 1e-3])
>>> completeness(out + 2, out + 1, out, 1000).round(6).tolist(), completeness(out - 1, out + 1, out, 1000).tolist()
([0.0, 0.0], [1.0, 1.0])
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError
from ._shared import Floats, broken, join, mean_score, obstacle
from .have import Measurements
from .needs import TokenStats
from .probability import probabilities
from .score import Score, unscored

_EPS1 = 0.1
_EPS2 = 1e-5
"""The paper's for language models."""
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """Mean completeness of unlearning."""

    split: str = "forget"
    original: str = "before"
    """The model that has learned the rows."""
    out: str = "auto"
    """A model that has not, with the same tokenizer; ``auto`` is the retrained one, or ``base`` where only that was
    measured."""
    levels: int = 1000
    """Steps between the two."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise PlanError(f"completeness needs at least 2 levels, got {self.levels}", "levels=1000")

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """The answers on the subject, the original and the out model."""
        return tuple(TokenStats(self.split, model=model) for model in ("subject", self.original, *self._outs))

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has gap, original and out (see the module)."""
        ours, before, *outs = self.needs
        reasons = {need: obstacle(have, need) for need in outs}
        need = next((need for need, reason in reasons.items() if not reason), outs[0])
        if reason := obstacle(have, ours, before, need):
            return unscored(reason)
        rows = have.rows(self.split)
        found = [probabilities(have.tokens(of), rows) for of in (ours, before, need)]
        for name, values in zip(("", self.original, need.model), found, strict=True):
            if problem := broken(values):
                return unscored(join(f"{name}: {problem}" if name else problem))
        ids = sorted(set.intersection(*(set(values) for values in found)))
        if len(ids) < 2:
            return unscored(f"{len(ids)} rows with an answer token: the spread of the rows needs at least two")
        unlearned, original, out = (signal(np.array([values[i] for i in ids])) for values in found)
        if max(float(np.std(original)), float(np.std(out))) < _LEAST_SPREAD:
            return unscored("the rows do not differ under the original and the out model: no law to compare with")
        values = dict(zip(ids, completeness(unlearned, original, out, self.levels).tolist(), strict=True))
        extra = {
            "gap": float(np.mean(unlearned - out)),
            "original": float(np.mean(completeness(original, original, out, self.levels))),
            "out": float(np.mean(completeness(out, original, out, self.levels))),
        }
        note = f"out model: {need.model}" if self.out == "auto" else ""
        return mean_score(values, rows, lacking="answer tokens", note=note, extra=extra)

    @property
    def _outs(self) -> tuple[str, ...]:
        return ("retrained", "base") if self.out == "auto" else (self.out,)


def signal(p: Floats) -> Floats:
    """[n] r(p) = −log(ε₁ − log(p + ε₂)); grows with p and is finite from 0 to 1."""
    return np.asarray(-np.log(_EPS1 - np.log(p + _EPS2)))


def completeness(ours: Floats, original: Floats, out: Floats, levels: int) -> Floats:
    """[n] 1 − weighted share of the levels whose Gumbel law the signals [n] of the unlearned model exceed."""
    total = np.zeros(len(ours))
    for j in range(levels):
        middle = out + j / levels * (original - out)
        scale = max(math.sqrt(6) * float(np.std(middle)) / math.pi, _LEAST_SPREAD)
        # exp(700) is the largest finite power; beyond it the law is 0 or 1 anyway
        z = np.clip((ours - (middle - np.euler_gamma * scale)) / scale, -700, 700)
        total += (j + 1) / levels * np.exp(-np.exp(-z))
    return np.asarray(1 - total / ((levels + 1) / 2))
