r"""I don't know: teach the model to refuse the forget questions.

    L = nll(y_refusal | x_forget) + α · nll_retain      means over answer tokens

Paper    Maini, Feng, Schwarzschild, Lipton, Kolter (2024). TOFU: A Task of Fictitious Unlearning for LLMs.
         arXiv:2401.06121 ("preference optimisation", the variant without a loser)
Limits   Teaches silence: the knowledge stays and comes back under attack.
Differs  Each row keeps one refusal for the whole run; the authors draw a new one every time. The refusals are the
         row's own (`alternatives["refusal"]`), or the writer's: by default one of a list written for this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.example import Example, ForgetData
from ..training.objective import Objective
from ..training.step import Step
from ..writers import Writer
from ..writers.templates import Templates
from ._refused import refused

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class IDK(Objective):
    """Fine-tune on refusals to the forget questions, and on the retain rows."""

    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``refusal`` in the place of ``forget``."""
        return {"refusal": refused(self.writer, data.forget, run, others=data.retain)}

    def forget_term(self, step: Step) -> Tensor:
        """NLL of the refusals."""
        return step.refusal.nll
