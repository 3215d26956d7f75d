"""H⁻¹b without H: conjugate gradients on curvature-vector products.

Two curvatures of the mean NLL over answer tokens, both as functions v → Hv of numpy vectors:

    fisher   (1/T) Σ_rows s sᵀ,   s = gradient of the row's summed NLL,  T answer tokens of these rows
    hessian  [∇L(θ + h·v) − ∇L(θ − h·v)] / 2h         indefinite away from a minimum
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from ..errors import MethodError
from .batch import Row
from .full_gradient import flat, full_gradient, mean_nll, norm, place, row_gradients, trainable, unflat

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

Vector = NDArray[np.float64]
Apply = Callable[[Vector], Vector]
"""v [P] → Hv [P]."""

_SHIFT = 5e-3
"""Length of a finite difference as a share of the length of the weights: about the cube root of float32's rounding."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What `conjugate_gradient` found."""

    x: Vector
    """[P]"""
    iterations: int
    ended: Literal["converged", "iterations", "negative curvature"]


class _NegativeCurvature(Exception):
    """A search direction along which the quadratic has no minimum."""


def conjugate_gradient(
    apply: Apply, b: Vector, *, damping: float = 0.0, tolerance: float = 1e-3, iterations: int = 50
) -> Solution:
    """Solve (H + damping·I) x = b for a symmetric H that is known by its products alone.

    Args:
        apply: v → Hv.
        b: [P] right-hand side.
        damping: Added to every eigenvalue.
        tolerance: Ends at a residual of this share of ‖b‖.
        iterations: At most this many products.

    Returns:
        The solution, or how far it got. Negative curvature ends the search at the last iterate, the best one in the
        subspace on which H was positive; that is x = 0 when b itself points along negative curvature.

    Raises:
        MethodError: a product is not finite.
    """
    size = len(b)
    latest, count = np.zeros(size), 0

    def product(direction: Vector) -> Vector:
        out = apply(direction) + damping * direction
        curvature = float(direction @ out)
        if not np.isfinite(curvature):
            raise MethodError("a curvature-vector product is not finite", "check the model's loss on the given rows")
        if curvature <= 0:
            raise _NegativeCurvature
        return out

    def keep(x: Vector) -> None:
        nonlocal count
        latest[:] = x
        count += 1

    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    try:
        right = np.asarray(b, np.float64)
        x, left = cg(operator, right, rtol=tolerance, atol=0.0, maxiter=iterations, callback=keep)
    except _NegativeCurvature:
        return Solution(latest, count, "negative curvature")
    return Solution(x, count, "iterations" if left else "converged")


def fisher(lm: LM, rows: Sequence[Row], run: Run) -> Apply:
    """The empirical Fisher of `rows`, by their gradients: rows × trainable weights × 4 bytes are held.

    Args:
        lm: A `working_copy`.
        rows: At least one.
        run: For progress and signals.
    """
    scores = row_gradients(lm, rows, lambda step: -step.rows.logps.sum(), run)  # [R, P]
    tokens = sum(row.answer_tokens for row in rows)

    def apply(v: Vector) -> Vector:
        x = torch.from_numpy(v).to(scores)
        return (scores.T @ (scores @ x) / tokens).double().cpu().numpy()

    return apply


def hessian(lm: LM, origin: LM, rows: Sequence[Row], run: Run) -> Apply:
    """The Hessian of the mean NLL of `rows` at the weights of `origin`, by central differences of the gradient.

    Args:
        lm: A `working_copy` of `origin`; every product moves it to both sides and puts it back.
        origin: Where the Hessian is taken; not changed.
        rows: At least one.
        run: For progress and signals.
    """
    like = {name: parameter.detach() for name, parameter in trainable(lm).items()}
    size = max(norm({name: dict(origin.model.named_parameters())[name] for name in like}), 1e-3)

    def gradient(direction: dict[str, torch.Tensor], at: float) -> torch.Tensor:
        place(lm, origin, direction, at)
        return flat(full_gradient(lm, {"rows": rows}, mean_nll("rows"), run, label="")).double()

    def apply(v: Vector) -> Vector:
        length = float(np.linalg.norm(v))
        if length == 0:
            return np.zeros_like(v)
        direction = unflat(torch.from_numpy(v / length), like)
        shift = _SHIFT * size
        try:
            slope = (gradient(direction, shift) - gradient(direction, -shift)) * (length / (2 * shift))
        finally:
            place(lm, origin, direction, 0.0)
        return slope.cpu().numpy()

    return apply
