"""Rows laid end to end instead of padded: everything but attention works token by token and need not see padding.

What all rows begin with (a system prompt) stands in the line once: no token sees what follows it, so its states are the
same in every row. Attention alone gathers the tokens back into rows. Works for every model of transformers whose layers
fetch their attention from `AttentionInterface` and take their order from ``position_ids``; `verify` finds out.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from ..errors import MethodError, ModelError
from ..models.layers import backbone, head_is_plain, network
from .batch import MicroBatch

NAME = "unsay_packed"
"""What `LM.set_attention` is given."""
_WORTH = 8
"""Tokens of a common beginning below which nothing is shared."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a padded batch [B, T] stand in a line of N."""

    slots: Tensor
    """[B, T] int64: place of each token; 0 past the end of a row."""
    cells: Tensor
    """[N] int64: ``row · T + position`` of each place, of the first row where rows share it."""
    shared: int = 0
    """How many of the first places all rows share."""

    @classmethod
    def of(cls, lengths: Tensor, width: int, shared: int = 0) -> Layout:
        """The layout of rows of `lengths` [B] tokens, padded to `width`, the first `shared` of which are the same."""
        real = torch.arange(width, device=lengths.device) < lengths[:, None]
        own = real.clone()
        own[1:, :shared] = False
        slots = (own.flatten().cumsum(0) - 1).view(own.shape)
        slots[1:, :shared] = slots[0, :shared].clone()
        return cls(slots.masked_fill_(~real, 0), own.flatten().nonzero()[:, 0], shared)

    def line(self, padded: Tensor) -> Tensor:
        """[B, T] → [1, N]."""
        return padded.flatten()[self.cells][None]

    @property
    def positions(self) -> Tensor:
        """[1, N] position of each token in its row."""
        return (self.cells % self.slots.shape[1])[None]


_LAYOUT: contextvars.ContextVar[Layout | None] = contextvars.ContextVar("layout", default=None)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Within, the forward of a model set to `NAME` takes its input for rows in this layout."""
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)


def is_packed(model: nn.Module) -> bool:
    """Whether the model's attention is set to `NAME`."""
    return bool(network(model).config._attn_implementation == NAME)


@torch.no_grad()
def verify(model: nn.Module, longest: int) -> bool:
    """Whether a model that has been set to `NAME` gives the same hidden states packed as each row does by itself.

    Args:
        model: In float32.
        longest: Tokens of the longest row it will see; windows of attention must not be shorter.
    """
    settings = network(model).config.get_text_config().to_dict()
    windows = [settings.get(name) for name in ("sliding_window", "attention_chunk_size")]
    if any(window is not None and window < longest for window in windows) or not head_is_plain(model):
        return False
    device = next(model.parameters()).device
    size = int(network(model).get_input_embeddings().weight.shape[0])
    ids = (torch.arange(3 * 9, device=device).view(3, 9) * 7 + 3) % size
    ids[:, :2] = ids[0, :2].clone()
    lengths = torch.tensor([4, 9, 6], device=device)
    layout = Layout.of(lengths, 9, shared=2)
    run = backbone(model)
    try:
        with laid_out(layout):
            line = run(input_ids=layout.line(ids), position_ids=layout.positions, use_cache=False).last_hidden_state[0]
        for row, length in enumerate(lengths.tolist()):
            alone = run(input_ids=ids[row : row + 1, :length], use_cache=False).last_hidden_state[0]
            if not torch.allclose(line[layout.slots[row, :length]], alone, rtol=1e-3, atol=1e-3 * float(alone.std())):
                return False
    except (MethodError, ModelError, TypeError, RuntimeError):
        return False
    return True


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Causal attention as transformers asks for it: query [1, H, N, d], key, value [1, h, N, d] → [1, N, H, d]."""
    if dropout or any(settings.get(name) is not None for name in ("softcap", "s_aux")):
        raise MethodError("packed attention knows no dropout, soft-cap or sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layout = _LAYOUT.get()
    if layout is None:  # an ordinary batch
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
        return out.transpose(1, 2), None
    line: Tensor = _Packed.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
    return line, None


class _Packed(torch.autograd.Function):
    """softmax(scale · QKᵀ + causal) V over rows gathered from the line; a group of query heads shares its keys."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        group, width = query.shape[1] // key.shape[1], layout.slots.shape[1]
        q, k, v = (_rows(t[0].transpose(0, 1), layout.slots, key.shape[1]) for t in (query, key, value))
        future = torch.full((width, width), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
        weights = torch.baddbmm(future.repeat(group, 1), q, k.transpose(1, 2), alpha=scale).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.layout, ctx.scale = layout, scale
        return _line(weights @ v, layout, query.shape[1])[None]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        heads, few = grad.shape[2], k.shape[0] // layout.slots.shape[0]
        padded = grad.new_zeros(layout.slots.numel(), *grad.shape[2:]).index_copy_(0, layout.cells, grad[0])
        out = _split(padded, layout.slots.shape, few)
        grad_v = weights.transpose(1, 2) @ out
        scores = torch.ops.aten._softmax_backward_data(out @ v.transpose(1, 2), weights, -1, weights.dtype)
        grad_q = (scores @ k).mul_(scale)
        grad_k = (scores.transpose(1, 2) @ q).mul_(scale)
        found = ((grad_q, heads), (grad_k, few), (grad_v, few))
        lines = [_line(t, layout, n, total=True).transpose(0, 1)[None] for t, n in found]
        return lines[0], lines[1], lines[2], None, None


def _rows(line: Tensor, slots: Tensor, few: int) -> Tensor:
    """[N, H, d] → [B·few, H/few·T, d]: the rows, with the query heads of a group one below the other."""
    return _split(line.index_select(0, slots.flatten()), slots.shape, few)


def _split(padded: Tensor, shape: torch.Size, few: int) -> Tensor:
    """[B·T, H, d] → [B·few, H/few·T, d]."""
    rows, width = shape
    wide = padded.view(rows, width, few, -1, padded.shape[-1]).permute(0, 2, 3, 1, 4)
    return wide.reshape(rows * few, -1, padded.shape[-1])


def _line(split: Tensor, layout: Layout, heads: int, *, total: bool = False) -> Tensor:
    """[B·few, H/few·T, d] → [N, H, d]: of places that rows share, the first row's; the sum over rows if `total`."""
    rows, width = layout.slots.shape
    wide = split.view(rows, heads, width, split.shape[-1]).transpose(1, 2)
    line = wide.reshape(rows * width, heads, split.shape[-1]).index_select(0, layout.cells)
    if total and layout.shared:
        line[: layout.shared] = wide[:, : layout.shared].sum(0)
    return line


def layout_of(batch: MicroBatch, *, share: bool = True) -> Layout:
    """The layout of a micro-batch.

    Args:
        batch: Its rows.
        share: Whether a common beginning of at least 8 tokens may stand once.
    """
    ids, lengths = batch.input_ids, batch.lengths
    same = (ids == ids[0]).all(0)[: int(lengths.min())].cumprod(0)
    shared = int(same.sum()) if share and len(lengths) > 1 else 0
    return Layout.of(lengths, ids.shape[1], shared if shared >= _WORTH else 0)


AttentionInterface.register(NAME, _attention)
