"""Which attention a training uses: whichever is fastest for rows this short."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.lm import LM

SHORT = 512
"""Tokens up to which plain attention beats the fused kernel on a CPU, whose backward pass is slow there."""


def faster_attention(lm: LM, longest: int) -> str:
    """``eager`` on a CPU for rows of at most `SHORT` tokens, ``sdpa`` otherwise.

    Args:
        lm: The model.
        longest: Tokens of the longest row.
    """
    return "eager" if lm.device.type == "cpu" and longest <= SHORT else "sdpa"
