"""Relearning: fine-tune on some of the forget rows and see whether the others come back.

    θ_k = k optimiser steps of NLL from θu on T;   measured on V = forget ∖ T;   and the same from the retrained model
    excess = [m(θu_k) − m(θu)] − [m(θr_k) − m(θr)]        m any knowledge metric, up = more knowledge

Given    T: the texts of a share of the forget rows, or all those of some entities.
Paper    Deeb, Roger (2024). Do Unlearning Methods Remove Information from Language Model Weights? arXiv:2410.08827
         (retraining on T); the difference in differences against a retrained control is this project's reading of it.
Limits   V must not follow from T; the control shows when it does. Guards, screens and offsets are dropped and adapters
         merged first, as by anyone who holds the checkpoint: step 0 is the model with them, every later one is
         fine-tuned from the weights alone.
Differs  The paper sweeps the learning rate from 1e-7 to 5e-6 over six epochs and takes the largest recovery; here the
         rates of `lr` and `lrs` are all reported, at a few step counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..data.example import Example, ForgetData
from ..errors import MethodError, PlanError
from ._attack import Probe
from ._finetune import check_recipe, check_steps, finetuned
from ._split import By, split_rows

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Relearn:
    """Fine-tune on a share of the forget rows; measure the rest."""

    steps: tuple[int, ...] = (2, 8)
    """Optimiser steps of each attacked model; every count starts from the model under attack."""
    lr: float = 5e-5
    lrs: tuple[float, ...] = ()
    """Further learning rates, each at every step count."""
    batch: int = 8
    share: float = 0.5
    """Share of each entity's forget rows that the attacker holds (T)."""
    by: By = "rows"
    """Whether T is a share of every entity's rows, or all rows of a share of the entities."""

    axis: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise PlanError(f"share: should lie between 0 and 1, got {self.share!r}")
        check_steps(self.steps)
        check_recipe(min(self.lr, *self.lrs) if self.lrs else self.lr, self.batch)
        if len({self.lr, *self.lrs}) <= len(self.lrs):
            raise PlanError(f"lrs: should be different from each other and from lr, got {self.lrs!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """The unattacked model on V, then one attacked model per entry of `steps` and learning rate, weakest first.

        Raises:
            MethodError: fewer than two facts (or entities, if they are split), so that nothing is left to ask.
        """
        given, asked = self.split(data.forget, run.seed)
        if not given or not asked:
            raise MethodError(
                f"relearn needs at least two forget rows that state different facts, got {len(data.forget)}",
                "set attacks=none",
            )
        yield Probe("step-0", lm, at=0, splits={"forget": asked})
        for count in sorted(self.steps):
            for lr in sorted({self.lr, *self.lrs}):
                name = f"step-{count}" + (f"-lr-{lr:g}" if self.lrs else "")
                attacked = finetuned(lm, given, run, name, lr=lr, batch=self.batch, steps=count)
                yield Probe(name, attacked, at=count, splits={"forget": asked})

    def split(self, forget: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
        """(T, V): see `split_rows`."""
        return split_rows(forget, self.share, seed, self.by)
