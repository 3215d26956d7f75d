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
from ..training.gradient import GradientMethod
from ..training.step import Step
from ..writers import Writer, obtain
from ..writers.templates import Templates

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class IDK(GradientMethod):
    """Fine-tune on refusals to the forget questions, and on the retain rows."""

    retain_weight: float = 1.0
    """α; 0 needs no retain rows."""
    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    @property
    def uses_retain(self) -> bool:  # type: ignore[override]
        """Only with a weight."""
        return self.retain_weight != 0

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``refusal`` in the place of ``forget``, and ``retain``."""
        texts = obtain(self.writer, data.forget, "refusal", 1, run, others=data.retain)
        refusals = [
            Example(prompt=row.prompt, answer=own[0], meta=row.meta)
            for row, own in zip(data.forget, texts, strict=True)
        ]
        roles: dict[str, Sequence[Example]] = {"refusal": refusals}
        if self.uses_retain:
            roles["retain"] = data.retain
        return roles

    def loss(self, step: Step) -> dict[str, Tensor]:
        """NLL of refusals and of retain answers."""
        terms = {"refusal": step.refusal.nll}
        if self.uses_retain:
            terms["retain"] = self.retain_weight * step.retain.nll
        return terms
