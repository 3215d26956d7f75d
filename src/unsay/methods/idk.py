r"""I don't know: teach the model to refuse the forget questions.

    L = nll(y_refusal | x_forget) + α · nll_retain      means over answer tokens

Paper    Maini, Feng, Schwarzschild, Lipton, Kolter (2024). TOFU: A Task of Fictitious Unlearning for LLMs.
         arXiv:2401.06121 ("preference optimisation", the variant without a loser)
Limits   Teaches silence: the knowledge stays and comes back under attack.
Differs  Each row keeps one refusal for the whole run; the authors draw a new one every time. The refusals are the
         row's own (`alternatives["refusal"]`), or one of a list written for this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.example import Example, ForgetData
from ..naming import derive_seed
from ..training.gradient import GradientMethod
from ..training.step import Step

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class IDK(GradientMethod):
    """Fine-tune on refusals to the forget questions, and on the retain rows."""

    retain_weight: float = 1.0
    """α; 0 needs no retain rows."""

    @property
    def uses_retain(self) -> bool:  # type: ignore[override]
        """Only with a weight."""
        return self.retain_weight != 0

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``refusal`` in the place of ``forget``, and ``retain``."""
        roles: dict[str, Sequence[Example]] = {"refusal": [_refused(row, run.seed) for row in data.forget]}
        if self.uses_retain:
            roles["retain"] = data.retain
        return roles

    def loss(self, step: Step) -> dict[str, Tensor]:
        """NLL of refusals and of retain answers."""
        terms = {"refusal": step.refusal.nll}
        if self.uses_retain:
            terms["retain"] = self.retain_weight * step.retain.nll
        return terms


def _refused(row: Example, seed: int) -> Example:
    """`row` with a refusal for its answer, always the same one for a seed."""
    own = row.answers("refusal")
    known = own or (files(__package__) / "_refusals.txt").read_text(encoding="utf-8").splitlines()
    return Example(prompt=row.prompt, answer=known[derive_seed(seed, "refusal", row.id) % len(known)], meta=row.meta)
