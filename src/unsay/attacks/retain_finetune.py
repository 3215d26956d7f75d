r"""Retain fine-tuning: go on training on the rows that were kept, and see whether the forgotten ones come back.

    θ_k = k optimiser steps of NLL from θu on R;   measured on F;   a model that never saw F stays where it is

Given    Nothing of the forget set; the retain rows.
Paper    Siddiqui et al. (2025). From Dormant to Deleted: Tamper-Resistant Unlearning Through Weight-Space
         Regularization. arXiv:2505.22310 (vision models: forget accuracy returns from 50 % to nearly 100 %)
Limits   The cheapest reversal there is, and what every later customer does anyway. Rows near the forget rows bring
         back more; where everyday rows stand in for retain rows, this is `benign-finetune`. Guards, screens and offsets
         are dropped first.
Differs  A few steps of AdamW at a constant rate at a time, for language models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import MethodError
from ._attack import Probe
from ._finetune import check_recipe, check_steps, curve

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class RetainFinetune:
    """Fine-tune on the retain rows; ask the forget rows."""

    steps: tuple[int, ...] = (2, 8, 32)
    """Optimiser steps of each attacked model; every count starts from the model under attack."""
    lr: float = 5e-5
    batch: int = 8

    axis: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_recipe(self.lr, self.batch)

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per entry of `steps`, fewest first.

        Raises:
            MethodError: there are no retain rows.
        """
        if not data.retain:
            raise MethodError("retain-finetune needs retain rows, and there are none", "give retain=FILE.jsonl")
        yield from curve(lm, data.retain, run, steps=self.steps, lr=self.lr, batch=self.batch)
