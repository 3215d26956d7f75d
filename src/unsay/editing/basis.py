"""The directions in which a linear map may change without its usual inputs noticing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import MethodError


def null_basis(moment: Tensor, share: float, cutoff: float | None = None) -> Tensor:
    """U [d, r] float64, orthonormal: the weakest directions of a second moment C = E[k kᵀ].

    An absolute cutoff means something else in every layer of every model: on a small model most directions fall below
    AlphaEdit's 0.02 and hold a quarter of the energy. The share of the energy means the same everywhere.

    Args:
        moment: C [d, d] float64.
        share: The directions together hold at most this share of C's trace.
        cutoff: Take those with an eigenvalue below it instead, as AlphaEdit does.

    Raises:
        MethodError: no direction is weak enough.
    """
    values, vectors = torch.linalg.eigh(moment)
    values = values.clamp(min=0)
    weak = values < cutoff if cutoff is not None else values.cumsum(0) <= share * values.sum()
    if not bool(weak.any()):
        raise MethodError(
            "no direction of the keys is unused by what is to be kept: the null space is empty",
            "raise method.energy, or method.cutoff if it is set",
        )
    return vectors[:, weak]


def energy(moment: Tensor, basis: Tensor) -> float:
    """Share of C's trace that lies in the span of U [d, r]."""
    return float(((moment @ basis) * basis).sum()) / float(moment.diagonal().sum())
