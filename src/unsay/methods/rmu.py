r"""RMU: turn what a middle layer makes of the forget rows into a random vector.

    L = γ · E[ (1/D) · ‖h_l(θ) − c·u‖² ]_forget + α · E[ (1/D) · ‖h_l(θ) − h_l(θ0)‖² ]_retain
    E over the answer tokens of a row, then over rows; u a fixed random unit vector

Paper    Li et al. (2024). The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning. arXiv:2403.03218
Limits   c has to fit the size of the layer's output; the knowledge above the layer is untouched and can be reached
         again by a few steps of training.
Differs  Taken over answer tokens; the authors train on whole documents. open-unlearning divides every row's sum by
         every row's count.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..training.step import View
from ._steering import Steering


@dataclass(frozen=True, kw_only=True)
class RMU(Steering):
    """Steer a layer to a vector of fixed length; no layer above it runs."""

    coefficient: float = 6.5
    """c; 6.5 for Zephyr-7B's layer 7."""

    def length(self, view: View) -> float:
        """C everywhere."""
        return self.coefficient
