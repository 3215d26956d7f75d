"""The parts of a decoder layer that write to the residual stream: attention heads and the MLP, in any family."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import ModelError
from ..models.layers import network
from .inside import Inside

_ATTENTION = ("self_attn", "attention", "attn")
_MLP = ("mlp", "feed_forward")
_OUT = re.compile(r"(^|\.)(o_proj|out_proj|dense|c_proj|wo)$")


@dataclass(frozen=True)
class Block:
    """One decoder layer taken apart."""

    layer: nn.Module
    attention: nn.Module
    mlp: nn.Module
    out: nn.Module
    """The linear map from the heads, side by side, to the residual stream."""
    heads: int

    @property
    def after_attention(self) -> nn.Module | None:
        """A norm between attention and residual stream (Gemma 2 and 3)."""
        return self._after("post_attention_layernorm", "post_feedforward_layernorm")

    @property
    def after_mlp(self) -> nn.Module | None:
        """A norm between MLP and residual stream (Gemma 2 and 3)."""
        return self._after("post_feedforward_layernorm")

    def _after(self, name: str, *needed: str) -> nn.Module | None:
        # Llama's post_attention_layernorm comes before the MLP: the name alone says nothing.
        there = all(hasattr(self.layer, other) for other in (name, *needed))
        return getattr(self.layer, name) if there else None

    def maps(self) -> Tensor:
        """[heads, d, D] what each head's d numbers are multiplied with on their way to the residual stream."""
        out: Any = self.out
        weight = out.weight.T if isinstance(out, nn.Linear) else out.weight  # Conv1D keeps [in, out]
        found: Tensor = weight.detach().reshape(self.heads, -1, weight.shape[-1])
        return found

    @property
    def bias(self) -> Tensor | None:
        """[D] of the linear map, or None."""
        return None if self.out.bias is None else self.out.bias.detach()  # type: ignore[union-attr,operator]


def blocks_of(inside: Inside) -> tuple[Block, ...]:
    """The decoder layers, first to last.

    Raises:
        ModelError: a layer has no attention and MLP of a known name, or no one output map of its heads.
    """
    heads = network(inside.model.model).config.get_text_config().num_attention_heads
    return tuple(_block(layer, heads) for layer in inside.layers)


def _block(layer: nn.Module, heads: int) -> Block:
    attention = next((getattr(layer, name) for name in _ATTENTION if hasattr(layer, name)), None)
    mlp = next((getattr(layer, name) for name in _MLP if hasattr(layer, name)), None)
    out = [m for name, m in attention.named_modules() if _OUT.search(name)] if attention is not None else []
    if attention is None or mlp is None or len(out) != 1 or not hasattr(out[0], "weight"):
        raise ModelError(
            f"{type(layer).__name__} is not built from one attention and one MLP of known names",
            "'unsay probe topk' and 'unsay probe lens' need less",
        )
    return Block(layer, attention, mlp, out[0], heads)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., heads · d] → [..., heads, d]."""
    return x.unflatten(-1, (heads, -1))
