r"""ICU: ascend on a forget row, descend on its nearest neighbour among the retain rows, row by row until forgotten.

    L = −w_u · nll(x_f) + w_l · nll(x_a) + w_kl · E_t[ KL( p_θ0 ‖ p_θ ) ](x_a)
    x_a: the retain row nearest to x_f;      a row leaves while it counts as forgotten (`stop=early-out`)

Paper    Tang et al. (2024). Learn while Unlearn: An Iterative Unlearning Framework for Generative Language Models.
         arXiv:2407.20271
Limits   Holds the surroundings of the forget rows rather than the whole of what the model knows.
Differs  Neighbours come from the user's retain rows, not from a web corpus. Without `embedder` they are found by
         words and their parts (tf-idf). A row is judged by extraction strength (stops/early_out.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ..data.example import Example, ForgetData
from ..errors import DataError
from ..models.embed import nearest
from ..stops._stop import Stop
from ..stops.early_out import EarlyOut
from ..training.objective import Objective
from ..training.reference import Uses
from ..training.step import Step

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class ICU(Objective):
    """Contrast each forget row with its neighbour."""

    retain: Literal["neighbour", "none", "nll", "kl", "hidden"] = "neighbour"  # type: ignore[assignment]
    """What holds the rest; neighbour is the paper's two terms."""
    retain_weight: float = 0.5
    """w_l."""
    kl_weight: float = 1.0
    """w_kl."""
    embedder: str = ""
    """Folder or hub id of a sentence encoder; empty compares words and their parts."""
    stop: Stop = field(default_factory=EarlyOut)
    """When it ends early, or leaves rows out."""

    @property
    def uses_reference(self) -> Uses:  # type: ignore[override]
        """The frozen model on the neighbours."""
        return True if self.retain == "neighbour" else super().uses_reference

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``forget``, and the ``neighbour`` of each row.

        Raises:
            DataError: there are no retain rows.
        """
        if self.retain != "neighbour":
            return super().roles(data, run)
        if not data.retain:
            raise DataError("neighbours are retain rows, and there are none", "give retain=, or method.retain=none")
        found = nearest(data.forget, data.retain, self.embedder)
        return {"forget": data.forget, "neighbour": [data.retain[i] for i in found]}

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the forget answers."""
        return -step.forget.nll

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Ascent, and the neighbours' NLL and KL."""
        if self.retain != "neighbour":
            return super().loss(step)
        held = self.retain_weight * step.neighbour.nll + self.kl_weight * step.neighbour.kl
        return {"forget": self.forget_weight * self.forget_term(step), "retain": held}
