"""Plain addition: g = g_f + g_r.

    g = ∇(γ·L_forget) + ∇(α·L_retain)

Paper    The form in Liu, Liu, Stone (2022). Continual Learning and Private Unlearning. arXiv:2203.12817
Limits   Whichever gradient is longer decides, whatever it does to the other term.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass

from ._combiner import Combiner


@dataclass(frozen=True, kw_only=True)
class Sum(Combiner):
    """Add the two terms."""
