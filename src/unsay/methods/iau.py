r"""Influence approximation: removing rows is learning them in reverse, in one step against both gradients.

    θu = θ − η·( ∇nll_retain − ∇nll_forget )      over full batches
    η  = max { η : nll_retain(θu) ≤ nll_retain(θ) + ln(1 + τ) }

Paper    Liu, Wu, Lian, Chen (2025). Efficient Machine Unlearning via Influence Approximation. arXiv:2507.23257
Limits   One step along a straight line. A model that fits the forget rows perfectly has no gradient there to follow.
Differs  The authors take one step of Adam from a fresh state, which is lr·sign(g) in every weight: lr = 1e-3 on all
         weights destroys a language model. Here the step is along the gradient itself, and a line search on the retain
         loss finds its length. Their gradient-norm penalty belongs to the original training and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PlanError
from ..naming import derive_seed
from ..training.full_gradient import encode_roles, full_gradient, sample, working_copy
from ..training.line_search import step_within

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class IAU:
    """One full-batch step, as long as the retain rows allow. Of ``train`` it reads ``micro_tokens`` alone."""

    tolerance: float = 0.1
    """τ: share by which the perplexity of the retain answers may rise."""
    ratio: float = 10.0
    """Retain rows used: this many times the forget rows at most, drawn by the run's seed."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "ratio"):
            if getattr(self, name) <= 0:
                raise PlanError(f"{name}: should be positive, got {getattr(self, name)!r}")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Take the step.

        Raises:
            DataError: no forget or no retain rows.
            MethodError: no step keeps the bound; nothing is trainable.
            CollapseError: the gradient is not finite.
        """
        most = max(1, round(self.ratio * len(data.forget)))
        retain = sample(data.retain, most, derive_seed(run.seed, "iau"))
        rows = encode_roles(lm, {"forget": data.forget, "retain": retain}, run)
        with working_copy(lm, rows) as subject:
            direction = full_gradient(subject, rows, lambda step: step.forget.nll - step.retain.nll, run)
            step_within(subject, lm, direction, {"retain": rows["retain"]}, run, tolerance=self.tolerance)
        return subject
