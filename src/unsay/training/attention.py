"""Which attention a training uses: whichever is fastest for rows this short."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..models.layers import head_is_plain, network
from .packed import NAME, is_packed, verify

if TYPE_CHECKING:
    from ..models.lm import LM

SHORT = 512
"""Tokens up to which plain attention beats the fused kernel on a CPU, whose backward pass is slow there."""


def speed_up_attention(lm: LM, longest: int, *, pack: bool = True) -> None:
    """On a CPU, for rows of at most `SHORT` tokens: packed rows where the model allows it, else plain attention.

    Args:
        lm: The model about to be trained, in float32.
        longest: Tokens of the longest row.
        pack: Whether packing may be tried.
    """
    if lm.device.type != "cpu" or longest > SHORT:
        return
    if pack and head_is_plain(lm.model):  # asked before the change: it runs the network as it is
        with contextlib.suppress(ModelError):
            lm.set_attention(NAME)
        if is_packed(lm.model) and verify(lm.model, longest):
            return
    lm.set_attention("eager")


@contextlib.contextmanager
def fast_attention(lm: LM, longest: int) -> Iterator[None]:
    """`speed_up_attention` for a while: for scans of a model in float32 that is used otherwise afterwards."""
    before = network(lm.model).config._attn_implementation
    speed_up_attention(lm, longest)
    try:
        yield
    finally:
        lm.set_attention(before)
