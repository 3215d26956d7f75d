r"""MEMIT to a refusal: subjects lead to "I don't know", with what is to be kept weighed by its second moment.

    ΔW = Rᵀ K ( λ·C + KᵀK )⁻¹ = Rᵀ ( K C⁻¹ Kᵀ + λI )⁻¹ K C⁻¹,   C = E[k kᵀ] over retain and everyday texts
    K: inputs of an MLP's output projection where a subject ends;  R: this layer's share of z* − h

Paper    Meng, Sharma, Andonian, Belinkov, Bau (2022). Mass-Editing Memory in a Transformer. arXiv:2210.07229; to
         refusals: Li et al. (2025), arXiv:2505.19855
Limits   As alpha-edit, and nothing is left alone exactly: keys in use are only made expensive.
Differs  The target is a refusal. λ is in units of kᵀC⁻¹k (the authors' is 15000 for every model); C is damped by
         1e-4 of its mean eigenvalue; rows of one subject share a value.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..editing.solve import whiten
from ..editing.spread import InUse
from ._edit import Editing


@dataclass(frozen=True, kw_only=True)
class MEMIT(Editing):
    """Edit without a projector."""

    def change(
        self, keys: Tensor, residuals: Tensor, usual: InUse, earlier: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Solved in the metric of the second moment."""
        return self.solved(keys, residuals, earlier, lambda k: whiten(k, usual.moment))
