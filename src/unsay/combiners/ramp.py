"""A forget term that grows: g = λ(t)·g_f + g_r with λ linear in the step.

    λ(t) = first + (last − first) · t / (T − 1)      t = 0 … T − 1

Paper    Ghahrizjani et al. (2025). Forgetting: A New Mechanism Towards Better Large Language Model Fine-tuning.
         arXiv:2508.04329 (λ from 1e-5 to 0.25 on the negative tokens of ordinary fine-tuning)
Limits   The number of steps becomes part of the objective.
Differs  Ends at 1 unless told otherwise, since here the forget term is what the training is for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._combiner import Combiner, State


@dataclass(frozen=True, kw_only=True)
class Ramp(Combiner):
    """Multiply the forget terms by a number that grows linearly."""

    first: float = 0.0
    """λ at the first step."""
    last: float = 1.0
    """λ at the last step."""

    def factors(self, step: int, steps: int, state: State) -> tuple[float, float]:
        """λ(t) on the forget terms."""
        return self.first + (self.last - self.first) * step / max(steps - 1, 1), 1.0
