r"""Influence functions on LoRA: what the adapter would be, to first order, had it not seen the forget rows.

    φu = φ + s·H⁻¹·b,      b = (1/n)·Σ_forget ∇ℓ(z; φ),      H = (1/n)·Σ ∇²ℓ(z; φ) + λI  over forget and retain

Paper    Ding, Wu, Yuan, Lu, Zhang, Su, Wang, He (2024). Unified Parameter-Efficient Unlearning for LLMs (LLMEraser).
         arXiv:2412.00383; after Koh, Liang (2017). Understanding Black-box Predictions via Influence Functions.
         arXiv:1703.04730
Limits   Reaches what the adapter learned. For a model without a trained adapter one is trained on forget and retain
         rows first, with the run's ``train`` settings; what the frozen weights know is then only counteracted.
         The empirical Fisher of rows known by heart is smaller than their Hessian, so that s = 1 is too far.
Differs  Solves for H⁻¹b by conjugate gradients; the public code's gradient of xᵀHx lacks a factor 2, so that it heads
         for 2H⁻¹b. H is the empirical Fisher or a Hessian-vector product by central differences, on some of the rows
         and damped in units of the curvature along b. n counts answer tokens, as the loss does. s = 1 is the estimate
         itself; by default s is the longest step that the retain loss allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..config.plan import Adapter
from ..errors import MethodError, PlanError
from ..models.adapters import adapted, attach, merged
from ..naming import derive_seed
from ..training.curvature import conjugate_gradient, fisher, hessian
from ..training.full_gradient import (
    encode_roles,
    flat,
    full_gradient,
    mean_nll,
    sample,
    trainable,
    unflat,
    working_copy,
)
from ..training.line_search import step_within
from ..training.reference import adapter_is_fresh
from .fine_tune import FineTune

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run
    from ..training.full_gradient import Rows


@dataclass(frozen=True, kw_only=True)
class Influence:
    """Remove the influence of the forget rows on a LoRA adapter."""

    curvature: Literal["fisher", "hessian"] = "fisher"
    """H: empirical Fisher (curvature_rows × weights × 4 bytes) or Hessian (two gradient passes per iteration)."""
    scale: float | None = None
    """s, cut back if it breaks `tolerance`; None is the largest that keeps it."""
    tolerance: float = 0.1
    """Share by which the perplexity of the retain answers may rise."""
    damping: float = 0.1
    """λ as a share of |bᵀHb| / bᵀb."""
    iterations: int = 50
    """Conjugate-gradient iterations at most."""
    curvature_rows: int = 64
    """Rows that H is taken over, drawn from forget and retain by the run's seed."""
    ratio: float = 10.0
    """Retain rows in the line search: this many times the forget rows at most."""
    adapter: Adapter = field(default_factory=Adapter)
    """The adapter to train for a model that has none. Its `merge` is not read."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "damping", "iterations", "curvature_rows", "ratio"):
            if getattr(self, name) <= 0:
                raise PlanError(f"{name}: should be positive, got {getattr(self, name)!r}")
        if self.scale is not None and self.scale <= 0:
            raise PlanError(f"scale: should be positive, got {self.scale!r}", "leave it out for a line search")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Train an adapter if there is none that is trained, solve, move; plain weights when `lm` has no adapter.

        Raises:
            DataError: no forget or no retain rows.
            MethodError: the forget rows have no gradient, or no step keeps the bound.
        """
        roles = encode_roles(lm, {"forget": data.forget, "retain": data.retain}, run)
        start = lm if adapted(lm.model) else attach(lm, self.adapter, derive_seed(run.seed, "influence"))
        if adapter_is_fresh(start.model):
            start = FineTune(on="all").unlearn(start, data, run.sub("adapter"))
        most = max(1, round(self.ratio * len(data.forget)))
        near = {"retain": sample(roles["retain"], most, derive_seed(run.seed, "influence", "retain"))}
        with working_copy(start, roles) as subject:
            direction = unflat(torch.from_numpy(self._direction(subject, start, roles, run)), trainable(subject))
            longest = float("inf") if self.scale is None else self.scale
            step_within(subject, start, direction, near, run, tolerance=self.tolerance, most=longest)
        return subject if adapted(lm.model) else merged(subject)

    def _direction(self, subject: LM, start: LM, roles: Rows, run: Run) -> np.ndarray:
        """[P] H⁻¹b; b itself where the curvature along b is negative."""
        everything = [*roles["forget"], *roles["retain"]]
        tokens = {role: sum(row.answer_tokens for row in rows) for role, rows in roles.items()}
        gradient = full_gradient(subject, {"forget": roles["forget"]}, mean_nll("forget"), run)
        b = flat(gradient).double().cpu().numpy() * (tokens["forget"] / sum(tokens.values()))
        if not b.any():
            raise MethodError("the forget rows have no gradient at these weights", "the model fits them perfectly")
        rows = sample(everything, self.curvature_rows, derive_seed(run.seed, "influence", "curvature"))
        apply = fisher(subject, rows, run) if self.curvature == "fisher" else hessian(subject, start, rows, run)
        with run.progress("solve", self.iterations + 1, "products") as bar:

            def counted(v: np.ndarray) -> np.ndarray:
                bar.advance()
                return apply(v)

            damping = self.damping * abs(float(b @ counted(b))) / float(b @ b)
            found = conjugate_gradient(counted, b, damping=damping, iterations=self.iterations)
        run.log(curvature=self.curvature, damping=damping, iterations=found.iterations, ended=found.ended)
        if found.ended == "negative curvature":
            run.note(f"influence: negative curvature ended the solve after {found.iterations} iterations")
        return found.x if found.x.any() else b
