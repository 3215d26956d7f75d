"""Relearning: fine-tune on some of the forget rows and see whether the others come back.

    θ_k = k optimiser steps of NLL from θu on T;   measured on V = forget ∖ T;   and the same from the retrained model
    excess = [m(θu_k) − m(θu)] − [m(θr_k) − m(θr)]        m any knowledge metric, up = more knowledge

Paper    Deeb, Roger (2024). Do Unlearning Methods Remove Information from Language Model Weights? arXiv:2410.08827
         (retraining on T); the difference in differences against a retrained control is this project's reading of it.
Limits   Information given to the attacker: the texts of T. V must not follow from T; the control shows when it does.
Differs  The paper sweeps the learning rate and takes the largest recovery; here it is given, at a few step counts.
         A guard prompt or logit offset is dropped first, as it would be by anyone who holds the checkpoint: step 0 is
         the patched model, every later one is fine-tuned from the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from ..config.plan import Train
from ..data.example import Example, ForgetData
from ..errors import MethodError, PlanError
from ..methods.fine_tune import FineTune
from ..models.patches import unpatched
from ..naming import derive_seed
from ._attack import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Relearn:
    """Fine-tune on a share of the forget rows; measure the rest."""

    steps: tuple[int, ...] = (2, 8)
    """Optimiser steps of each attacked model; every count starts from the model under attack."""
    lr: float = 5e-5
    batch: int = 8
    share: float = 0.5
    """Share of each entity's forget rows that the attacker holds (T)."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise PlanError(f"share: should lie between 0 and 1, got {self.share!r}")
        if not self.steps or min(self.steps) < 1:
            raise PlanError(f"steps: should be positive counts, got {self.steps!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """The unattacked model on V, then one attacked model per entry of `steps`, weakest first.

        Raises:
            MethodError: fewer than two forget rows, so that nothing is left to ask.
        """
        given, asked = self.split(data.forget, run.seed)
        weights = unpatched(lm)
        if not given or not asked:
            raise MethodError(f"relearn needs at least two forget rows, got {len(data.forget)}", "set attacks=none")
        yield Probe("step-0", lm, at=0, splits={"forget": asked})
        for count in sorted(self.steps):
            train = Train(
                lr=self.lr,
                batch=min(self.batch, len(given)),
                max_steps=count,
                schedule="constant",
                weight_decay=0.0,
                checkpoint_every=0,
                micro_tokens=run.train.micro_tokens,
                precision=run.train.precision,
            )
            attacked = FineTune(on="forget").unlearn(
                weights, ForgetData(forget=given), run.sub(f"step-{count}", train=train)
            )
            yield Probe(f"step-{count}", replace(attacked, origin=lm.origin), at=count, splits={"forget": asked})

    def split(self, forget: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        """(T, V): of every entity a seeded `share` of the rows, rounded up, goes to the attacker; order is kept."""
        groups: dict[str, list[str]] = {}
        for row in forget:
            groups.setdefault(row.entity, []).append(row.id)
        if all(len(ids) == 1 for ids in groups.values()):  # one row an entity: split between entities instead
            groups = {"": [row.id for row in forget]}
        given: set[str] = set()
        for entity, ids in groups.items():
            shuffled = sorted(ids)
            Random(derive_seed(seed, "relearn", entity)).shuffle(shuffled)
            given.update(shuffled[: math.ceil(self.share * len(ids)) if len(ids) > 1 else 0])
        return [r for r in forget if r.id in given], [r for r in forget if r.id not in given]
