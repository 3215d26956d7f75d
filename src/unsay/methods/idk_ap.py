r"""IDK+AP: refuse the forget questions, and prefer the answer to a refusal on the retain questions.

    L = γ · nll(y_refusal | x_forget) + α · ( −(1/β) · E[ log σ( β · [ S_θ(y|x) − S_θ(y_refusal|x) ] ) ]_retain )
    S = Σ_t log p(y_t | x, y_<t)

Paper    Yuan, Pang, Du, Chen, Zhang, Lin (2024). A Closer Look at Machine Unlearning for Large Language Models.
         arXiv:2410.08109 (answer preservation, AP)
Limits   Two refusals are learned against each other; what the model knows is untouched, as with `idk`.
Differs  Each row keeps one refusal for the whole run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..training.objective import Objective
from ..training.step import Step
from ..writers import Writer
from ..writers.templates import Templates
from ._refused import refused

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class IDKAP(Objective):
    """Refusals on forget rows, answers before refusals on retain rows."""

    beta: float = 0.1
    """Inverse temperature β of the preference."""
    retain: Literal["preference", "none", "nll", "kl", "hidden"] = "preference"  # type: ignore[assignment]
    """What holds the retain rows; preference is AP."""
    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    paired: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "0.1 is the paper's")

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``refusal`` in the place of ``forget``."""
        return {"refusal": refused(self.writer, data.forget, run, others=data.retain)}

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """For AP also ``retain_refusal``, drawn together with ``retain``."""
        roles = super().roles(data, run)
        if self.retain == "preference":
            roles["retain_refusal"] = refused(self.writer, data.retain, run, others=data.forget)
        return roles

    def forget_term(self, step: Step) -> Tensor:
        """NLL of the refusals."""
        return step.refusal.nll

    def retain_term(self, step: Step) -> Tensor:
        """Answer preservation, or the term asked for."""
        if self.retain != "preference":
            return super().retain_term(step)
        margin = step.retain.logps - step.retain_refusal.logps  # [B]
        return step.retain.mean(-F.logsigmoid(self.beta * margin) / self.beta)
