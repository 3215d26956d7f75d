r"""Direct preference optimisation with a refusal as the winner and the forget answer as the loser (IdkDPO).

    L_forget = −(2/β) · E[ log σ( β · [(S_θ − S_θ0)(y_refusal|x) − (S_θ − S_θ0)(y|x)] ) ]_forget
    S = Σ_t log p(y_t | x, y_<t);      L = γ · L_forget + α · L_retain

Paper    Rafailov, Sharma, Mitchell, Ermon, Manning, Finn (2023). Direct Preference Optimization: Your Language Model
         is Secretly a Reward Model. arXiv:2305.18290; for unlearning Zhang, Lin, Bai, Mei (2024). arXiv:2404.05868
Limits   Teaches refusing, as `idk` does; how much of the loss is forgetting and how much refusing is not controlled.
         At θ = θ0 the loss is (2/β)·ln 2.
Differs  2/β in place of DPO's factor 1, so that it compares with NPO. Each row keeps one refusal for the whole run:
         its own (`alternatives["refusal"]`), or the writer's.
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
from ..writers import Writer
from ..writers.templates import Templates
from ._preference import preference
from ._refused import refused

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class DPO(Objective):
    """Prefer a refusal to the forget answer."""

    beta: float = 0.1
    """Inverse temperature β."""
    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    paired: ClassVar[bool] = True
    compares: ClassVar[Uses] = "logps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "0.1 is the NPO paper's")

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``forget`` and the ``refusal`` to each of its questions."""
        return {"forget": data.forget, "refusal": refused(self.writer, data.forget, run, others=data.retain)}

    def forget_term(self, step: Step) -> Tensor:
        """The preference term."""
        return step.forget.mean(preference(step.refusal, step.forget, self.beta))
