"""Gradient harmonisation: when the two gradients conflict, each loses its part along the other.

    if <g_f, g_r> < 0:   g = ( g_f − <g_f,g_r>/‖g_r‖² · g_r ) + ( g_r − <g_f,g_r>/‖g_f‖² · g_f );   otherwise g_f + g_r

Paper    Huang et al. (2024). Learning to Unlearn for Robust Machine Unlearning (LTU). arXiv:2407.10494; the projection
         is that of Yu et al. (2020). Gradient Surgery for Multi-Task Learning. arXiv:2001.06782
Limits   Where the gradients are opposite, nothing moves.
Differs  Of LTU the harmonisation alone, in its symmetric form; not the meta-learning around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ._combiner import Combiner, inner


@dataclass(frozen=True, kw_only=True)
class Harmonise(Combiner):
    """Remove from each gradient what works against the other."""

    apart = True
    needs_retain = True

    def merge(self, forget: Sequence[Tensor], retain: Sequence[Tensor]) -> None:
        """The equation above: both cases are a·g_f + b·g_r."""
        product = inner(forget, retain)
        a = b = 1.0
        if product < 0:  # then neither square is zero
            a, b = 1 - product / inner(forget, forget), 1 - product / inner(retain, retain)
        for into, other in zip(retain, forget, strict=True):
            into.mul_(b).add_(other, alpha=a)
