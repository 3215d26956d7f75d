"""Which attention a training uses: whichever is fastest for rows this short."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.lm import LM

SHORT = 512
"""Tokens up to which plain attention beats the fused kernel on a CPU, whose backward pass is slow there."""


def speed_up_attention(lm: LM, longest: int) -> None:
    """Switch to plain attention on a CPU for rows of at most `SHORT` tokens; otherwise leave it as it was loaded.

    Args:
        lm: The model about to be trained.
        longest: Tokens of the longest row.
    """
    if lm.device.type == "cpu" and longest <= SHORT:
        lm.set_attention("eager")
