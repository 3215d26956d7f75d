r"""AlphaEdit to a refusal: subjects lead to "I don't know", by a change in the null space of what is to be kept.

    ΔW = Rᵀ ( K P Kᵀ + λI )⁻¹ K P       P = U Uᵀ: weakest directions of E[k kᵀ] that hold `energy` of its trace
    K: inputs of an MLP's output projection where a subject ends;  R: this layer's share of z* − h

Paper    Fang, Jiang et al. (2024). AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models.
         arXiv:2410.02355; edits to refusals as unlearning: Li et al. (2025). Editing as Unlearning: Are Knowledge
         Editing Methods Strong Baselines for Large Language Model Unlearning? arXiv:2505.19855
Limits   Suppression: the answer stays likely once its first token is given. The keys tell subjects apart, not
         questions: everything about a subject is refused. Plain text without questions cannot be edited.
Differs  The null space is a share of the energy rather than an eigenvalue below 0.02 (`cutoff`); the first token of a
         text does not count in E[k kᵀ]; λ is in units of the keys; rows of one subject share a value.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..editing.basis import energy, null_basis
from ..editing.solve import project
from ..editing.spread import InUse
from ..errors import PlanError
from ._edit import Editing


@dataclass(frozen=True, kw_only=True)
class AlphaEdit(Editing):
    """Edit in the null space of the keys to keep."""

    energy: float = 0.02
    """Share of E[k kᵀ]'s trace that the directions free for the edit hold."""
    cutoff: float | None = None
    """Take the directions with an eigenvalue below it instead; the authors' 0.02."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.energy <= 1 or (self.cutoff is not None and self.cutoff <= 0):
            raise PlanError("energy should be a share and cutoff positive", "0.02 is the default energy")

    def change(
        self, keys: Tensor, residuals: Tensor, usual: InUse, earlier: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Solved in the null space; ``rank``, and the share of ``energy`` of the keys to keep and of others in it."""
        basis = null_basis(usual.moment, self.energy, self.cutoff)
        step, said = self.solved(keys, residuals, earlier, lambda k: project(k, basis))
        said |= {"rank": basis.shape[1], "energy": energy(usual.moment, basis)}
        if usual.held_out is not None:
            said["energy_held_out"] = energy(usual.held_out, basis)
        return step, said
