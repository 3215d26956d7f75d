r"""ROME to a refusal: one layer, one rank-one change for each subject, one after the other.

    ΔW = Σ_i ( r_i − ΔW_{<i} k_i ) (C⁻¹ k_i)ᵀ / ( k_iᵀ C⁻¹ k_i ),   C = E[k kᵀ] over retain and everyday texts
    k: input of an MLP's output projection where the subject ends;  r = z* − h

Paper    Meng, Bau, Andonian, Belinkov (2022). Locating and Editing Factual Associations in GPT. arXiv:2202.05262; to
         refusals: Li et al. (2025), arXiv:2505.19855
Limits   Meant for one fact: later subjects bend earlier ones, and the damage adds up. As alpha-edit otherwise.
Differs  The target is a refusal; C is damped by 1e-4 of its mean eigenvalue; rows of one subject share a value;
         `ridge`, `ridge_absolute` and `previous` are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..editing.solve import one_by_one, whiten
from ..editing.spread import InUse
from ._edit import Editing


@dataclass(frozen=True, kw_only=True)
class ROME(Editing):
    """Edit one layer, request by request."""

    span: int = 1
    """Layers that change; more than one is ROME layer by layer, as MEMIT goes about it."""

    def change(
        self, keys: Tensor, residuals: Tensor, usual: InUse, earlier: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Rank one for each key."""
        return one_by_one(keys, whiten(keys, usual.moment), residuals), {}
