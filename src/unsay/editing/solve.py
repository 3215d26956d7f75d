"""The solves of the editing family, in float64. Pure functions of matrices.

Keys are rows here: K [n, d_in] are inputs of a linear map W [d_out, d_in], R [n, d_out] what W·k should change by.
A metric M (symmetric, d_in × d_in) says which directions are free; it comes as ``MK`` = K·M, never as a matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import MethodError


def dual(keys: Tensor, image: Tensor, residuals: Tensor, ridge: float) -> Tensor:
    """ΔW = Rᵀ (K M Kᵀ + λI)⁻¹ K M: the least change, measured by M⁻¹, that gives K the residuals; n × n only.

    With M = U Uᵀ it is AlphaEdit's [P(KᵀK) + λI]⁻¹ P Kᵀ R, and with M = C⁻¹ MEMIT's Rᵀ K (λC + KᵀK)⁻¹. Earlier edits
    are kept by adding their keys with residuals of 0.

    Args:
        keys: K [n, d_in] float64.
        image: K·M [n, d_in] float64.
        residuals: R [n, d_out] float64.
        ridge: λ > 0.

    Returns:
        [d_out, d_in] float64.

    Raises:
        MethodError: the system is singular or not finite.
    """
    gram = image @ keys.T
    system = (gram + gram.T) / 2 + ridge * torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed) or not bool(factor.isfinite().all()):
        raise MethodError("the keys of the edit are not independent enough to be solved for", "raise method.ridge")
    return residuals.T @ torch.cholesky_solve(image, factor)


def held(
    keys: Tensor, residuals: Tensor, earlier: Tensor | None, ridge: float, image: Callable[[Tensor], Tensor]
) -> Tensor:
    """`dual` with the keys of earlier edits held where they are.

    Args:
        keys: K [n, d_in] float64.
        residuals: R [n, d_out] float64.
        earlier: [m, d_in] float64 that get residuals of 0, or None.
        ridge: λ > 0.
        image: K → K·M.

    Returns:
        [d_out, d_in] float64.
    """
    if earlier is not None:
        keys = torch.cat([earlier, keys])
        residuals = torch.cat([residuals.new_zeros(len(earlier), residuals.shape[1]), residuals])
    return dual(keys, image(keys), residuals, ridge)


def level(keys: Tensor, image: Tensor) -> float:
    """Mean kᵀMk of K [n, d_in], given K·M: what λ is measured in."""
    return float((image * keys).sum(1).mean())


def project(keys: Tensor, basis: Tensor) -> Tensor:
    """K·U·Uᵀ [n, d_in]: what of K [n, d_in] lies in the span of U [d_in, r]."""
    return (keys @ basis) @ basis.T


def whiten(keys: Tensor, moment: Tensor, damping: float = 1e-4) -> Tensor:
    """K·C⁻¹ [n, d_in] of a second moment C [d_in, d_in].

    Args:
        keys: K [n, d_in] float64.
        moment: C; `damping` times its mean eigenvalue is added, since fewer tokens than d_in leave it singular.
        damping: A share.
    """
    width = len(moment)
    level = float(moment.diagonal().mean()) or 1.0
    steady = moment + damping * level * torch.eye(width, dtype=moment.dtype, device=moment.device)
    return torch.cholesky_solve(keys.T, torch.linalg.cholesky(steady)).T


def one_by_one(keys: Tensor, image: Tensor, residuals: Tensor) -> Tensor:
    """ROME, request by request: Δ ← Δ + (r_i − Δk_i)(M k_i)ᵀ / (k_iᵀ M k_i). Later requests win over earlier ones.

    Args:
        keys: K [n, d_in] float64.
        image: K·M [n, d_in] float64.
        residuals: R [n, d_out] float64, before any of them is written.

    Returns:
        [d_out, d_in] float64, of rank n at most.
    """
    found = residuals.new_zeros(residuals.shape[1], keys.shape[1])
    for key, along, wanted in zip(keys, image, residuals, strict=True):
        found += torch.outer(wanted - found @ key, along) / (key @ along)
    return found


def redirect(
    forget_sum: Tensor, forget_moment: Tensor, retain_moment: Tensor, direction: Tensor, ridge: float
) -> Tensor:
    """LUNAR in closed form: argmin Σ_forget ‖ΔW h − r‖² + Σ_retain ‖ΔW h‖² + λ‖ΔW‖², which has rank one.

        ΔW = r · uᵀ,   u = ( Σ_{f∪r} h hᵀ + λI )⁻¹ Σ_f h

    Args:
        forget_sum: Σ_f h [d_in] float64.
        forget_moment: Σ_f h hᵀ [d_in, d_in].
        retain_moment: Σ_r h hᵀ [d_in, d_in].
        direction: R [d_out].
        ridge: λ > 0.

    Returns:
        [d_out, d_in] float64.
    """
    eye = torch.eye(len(forget_sum), dtype=forget_sum.dtype, device=forget_sum.device)
    factor = torch.linalg.cholesky(forget_moment + retain_moment + ridge * eye)
    return torch.outer(direction, torch.cholesky_solve(forget_sum[:, None], factor)[:, 0])
