r"""Full relearning: fine-tune on all forget rows and see how soon they are back.

    θ_k = k optimiser steps of NLL from θu on F;   measured on F;   and the same from the retrained model
    excess_k = [m(θu_k) − m(θu)] − [m(θr_k) − m(θr)]        m any knowledge metric, up = more knowledge

Given    All forget rows with their answers.
Paper    Dorna et al. (2025). OpenUnlearning. arXiv:2506.12618 (one epoch on the forget rows at 2e-5, batch 32)
Limits   The attack teaches what it asks for: only its course beside the control's says something, never a single level.
         Guards, screens and offsets are dropped first.
Differs  A curve over step counts instead of one epoch, which is two steps for forty rows. AdamW without weight decay
         at a constant rate instead of paged AdamW.
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
class FullRelearn:
    """Fine-tune on every forget row; ask the same rows."""

    steps: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Optimiser steps of each attacked model; every count starts from the model under attack."""
    lr: float = 2e-5
    batch: int = 32

    axis: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_recipe(self.lr, self.batch)

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per entry of `steps`, fewest first.

        Raises:
            MethodError: there are no forget rows.
        """
        if not data.forget:
            raise MethodError("full-relearn needs forget rows, and there are none", "give forget=FILE.jsonl")
        yield from curve(lm, data.forget, run, steps=self.steps, lr=self.lr, batch=self.batch)
