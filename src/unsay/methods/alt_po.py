r"""Alternate preference optimisation: prefer plausible wrong answers to the forget answer.

    L_forget = −(2/β) · E[ log σ( β · [(S_θ − S_θ0)(y_alt|x) − (S_θ − S_θ0)(y|x)] ) ]_forget
    S = Σ_t log p(y_t | x, y_<t);      L = γ · L_forget + α · L_retain

Paper    Mekala, Dorna, Dubey, Lalwani, Koleczek, Rungta, Hasan, Lobo (2024). Alternate Preference Optimization for
         Unlearning Factual Knowledge in Large Language Models. arXiv:2409.13474
Limits   As good as its alternatives: wrong facts are taught in the place of the forgotten ones. Every forget row goes
         along with each of its alternatives, so an epoch is `alternatives` times as long (the paper trains 2 epochs).
         At θ = θ0 the loss is (2/β)·ln 2.
Differs  The authors let a chat model write the alternatives; the default writer here needs no model. It leaves a row's
         `perturbed` answers alone, since truth ratio is scored on them (`writer.own=true` would train on the test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..training.objective import Objective
from ..training.reference import Uses
from ..training.step import Step
from ..writers import Writer, obtain
from ..writers.templates import Templates
from ._preference import preference

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class AltPO(Objective):
    """Prefer wrong answers to the forget answer."""

    beta: float = 0.1
    """Inverse temperature β; the paper tries 0.05 to 0.5."""
    alternatives: int = 5
    """Wrong answers for each forget row."""
    writer: Writer = field(default_factory=lambda: Templates(own=False))
    """Who writes them for rows that bring none (`alternatives["alternative"]`)."""

    paired: ClassVar[bool] = True
    compares: ClassVar[Uses] = "logps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "0.1 lies in the paper's range")
        if self.alternatives < 1:
            raise PlanError(f"alternatives: should be at least 1, got {self.alternatives!r}", "5 is the paper's")

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``forget``, each row as often as it has alternatives, with these as ``alternative``."""
        texts = obtain(self.writer, data.forget, "alternative", self.alternatives, run, others=data.retain)
        pairs = [(row, text) for row, own in zip(data.forget, texts, strict=True) for text in own]
        return {
            "forget": [row for row, _ in pairs],
            "alternative": [Example(row.prompt, text, meta=row.meta) for row, text in pairs],
        }

    def forget_term(self, step: Step) -> Tensor:
        """The preference term."""
        return step.forget.mean(preference(step.alternative, step.forget, self.beta))
