"""The number of steps alone: t = T.

Paper    The usual rule; see Jang et al. (2023). arXiv:2210.01504 for what a fixed number does to a model.
Limits   The right number depends on everything.
Differs  —
"""

from __future__ import annotations

from dataclasses import dataclass

from ._stop import Stop


@dataclass(frozen=True, kw_only=True)
class Steps(Stop):
    """Take all the steps that `train` asks for."""
