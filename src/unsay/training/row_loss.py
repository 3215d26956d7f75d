"""Per-row functions of the vocabulary logits, with the logits never kept whole.

A row is one answer position: hidden state ``[D]`` → logits ``[V]`` → one number. Forward and gradient are computed
chunk by chunk in float32; what is kept for the backward pass is the gradient of each number with respect to its
logits, in the dtype of the hidden states, when that is small, and nothing (it is computed again) when it is not.

Letters: A answer positions, D width, V vocabulary size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

Row = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Logits [C, V] float32 of the rows in a slice → values [C] and their gradient [C, V]; may overwrite the logits."""

CHUNK = 1 << 24
"""Logits computed at a time: 64 MB in float32."""
KEEP = 1 << 28
"""Bytes of gradient kept for the backward pass; above it the logits are computed twice."""


@dataclass(frozen=True)
class Projection:
    """An output head: ``cap · tanh(scale · (hidden Wᵀ + bias) / cap)``, without the cap when `softcap` is None."""

    weight: Tensor
    """[V, D]"""
    bias: Tensor | None = None
    """[V]"""
    softcap: float | None = None
    scale: float = 1.0

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [A, V] in float32 of hidden states [A, D]; differentiable, all of them in memory."""
        return self.finish(torch.nn.functional.linear(hidden, self.weight, self.bias).float())

    def finish(self, raw: Tensor) -> Tensor:
        """Scale and soft-cap of float32 products [C, V]."""
        if self.scale != 1.0:
            raw = raw * self.scale
        return raw if self.softcap is None else self.softcap * torch.tanh(raw / self.softcap)


def log_probability(targets: Tensor) -> Row:
    """``log p(target)``; its gradient is ``onehot(target) − p``."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        index = targets[rows, None]
        normal = torch.logsumexp(logits, -1, keepdim=True)
        value = logits.gather(1, index) - normal
        slope = logits.sub_(normal).exp_().neg_()
        slope.scatter_add_(1, index, torch.ones_like(value))
        return value[:, 0], slope

    return row


def divergence_from(reference: Callable[[slice], Tensor]) -> Row:
    """``KL(q ‖ p)`` of a fixed q, given by its logits [C, V] for a slice of rows; the gradient is ``p − q``."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        fixed = torch.log_softmax(reference(rows), -1)
        logp = torch.log_softmax(logits, -1)
        q = fixed.exp()
        value = (q * fixed.sub_(logp)).sum(-1)
        return value, logp.exp_().sub_(q)

    return row


def row_values(states: Tensor, head: Projection | None, row: Row) -> Tensor:
    """`row` of every answer position, differentiable once with respect to states, head weight and bias.

    Args:
        states: Hidden states [A, D]; without a head, logits [A, V].
        head: The output head, or None.
        row: What to compute from each row's logits.

    Returns:
        [A] float32.
    """
    weight, bias = (head.weight, head.bias) if head else (None, None)
    # autograd.Function.apply carries no types
    return cast(Tensor, _RowValues.apply(states, weight, bias, head, row))


class _RowValues(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor | None, bias: Tensor | None, head: Projection | None, row: Row
    ) -> Tensor:
        width = states.shape[1] if weight is None else weight.shape[0]
        need = any(ctx.needs_input_grad[:3])
        ctx.keeps = need and states.shape[0] * width * states.element_size() <= KEEP
        ctx.head, ctx.row, ctx.chunks = head, row, _chunks(states.shape[0], width)
        values, kept = [], []
        for rows in ctx.chunks:
            value, slope = _evaluate(states[rows], head, row, rows, need=ctx.keeps)
            values.append(value)
            if ctx.keeps:
                kept.append(slope)
        ctx.save_for_backward(states, weight, bias, *kept)
        return torch.cat(values) if values else states.new_zeros(0, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, *kept = ctx.saved_tensors
        need_states, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_states = torch.zeros_like(states) if need_states else None
        grad_weight = torch.zeros_like(weight) if need_weight and len(ctx.chunks) != 1 else None
        grad_bias = torch.zeros_like(bias) if need_bias else None
        for number, rows in enumerate(ctx.chunks):
            if ctx.keeps:
                slope = kept[number]
            else:
                _, slope = _evaluate(states[rows], ctx.head, ctx.row, rows, need=True)
            # Out of place: the kept slopes must survive a second backward through a retained graph.
            slope = slope * grad[rows, None].to(slope.dtype)
            if grad_states is not None:
                grad_states[rows] = slope if weight is None else slope @ weight
            if grad_weight is not None:
                grad_weight.addmm_(slope.t(), states[rows])
            elif need_weight:
                grad_weight = slope.t() @ states[rows]
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        return grad_states, grad_weight, grad_bias, None, None


def _evaluate(states: Tensor, head: Projection | None, row: Row, rows: slice, *, need: bool) -> tuple[Tensor, Tensor]:
    """Values [C] and, when asked for, the gradient with respect to the raw products [C, V] in the dtype of `states`."""
    if head is None:
        value, slope = row(states.to(torch.float32, copy=True), rows)
        return value, slope.to(states.dtype)
    logits = head.finish(torch.nn.functional.linear(states, head.weight, head.bias).float())
    tame = None
    if need and head.softcap is not None:
        tame = 1 - (logits / head.softcap) ** 2
    value, slope = row(logits, rows)
    if not need:
        return value, slope
    if tame is not None:
        slope = slope * tame
    if head.scale != 1.0:
        slope = slope * head.scale
    return value, slope.to(states.dtype)


def _chunks(count: int, width: int) -> list[slice]:
    rows = max(1, CHUNK // width)
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
