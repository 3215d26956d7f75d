"""Per-row functions of the vocabulary logits, with the logits never kept whole.

A row is one answer position: hidden state ``[D]`` → logits ``[V]`` → one number. Forward and gradient are computed chunk by
chunk in float32; what is kept for the backward pass is the gradient of each number with respect to its logits, in the dtype
of the hidden states, when that is small, and nothing (it is computed again) when it is not.

Letters: A answer positions, D width, V vocabulary size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

Row = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Logits ``[C, V]`` float32 of the rows in a slice → values ``[C]`` and their gradient ``[C, V]``; may overwrite the logits."""

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
    """``KL(q ‖ p)`` of a fixed distribution q, given by its logits [C, V] for a slice of rows; the gradient is ``p − q``."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        fixed = torch.log_softmax(reference(rows), -1)
        logp = torch.log_softmax(logits, -1)
        q = fixed.exp()
        value = (q * fixed.sub_(logp)).sum(-1)
        return value, logp.exp_().sub_(q)

    return row


def row_values(hidden: Tensor, head: Projection, row: Row) -> Tensor:
    """`row` of every hidden state, differentiable once with respect to hidden states, head weight and bias.

    Args:
        hidden: [A, D].
        head: The output head.
        row: What to compute from each row's logits.

    Returns:
        [A] float32.
    """
    # autograd.Function.apply carries no types
    return cast(Tensor, _RowValues.apply(hidden, head.weight, head.bias, head, row))


class _RowValues(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: Projection, row: Row) -> Tensor:
        need = any(ctx.needs_input_grad[:3])
        ctx.keeps = need and hidden.shape[0] * weight.shape[0] * hidden.element_size() <= KEEP
        ctx.head, ctx.row = head, row
        values, kept = [], []
        for rows in _chunks(hidden, weight):
            value, slope = _evaluate(hidden[rows], head, row, rows, need=ctx.keeps)
            values.append(value)
            if ctx.keeps:
                kept.append(slope)
        ctx.save_for_backward(hidden, weight, bias, *kept)
        return torch.cat(values) if values else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, *kept = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = grad_bias = None
        for number, rows in enumerate(_chunks(hidden, weight)):
            if ctx.keeps:
                slope = kept[number]
            else:
                _, slope = _evaluate(hidden[rows], ctx.head, ctx.row, rows, need=True)
            # Out of place: the kept slopes must survive a second backward through a retained graph.
            slope = slope * grad[rows, None].to(slope.dtype)
            if grad_hidden is not None:
                torch.mm(slope, weight, out=grad_hidden[rows])
            if need_weight:
                part = slope.t() @ hidden[rows]
                grad_weight = part if grad_weight is None else grad_weight.add_(part)
            if need_bias:
                total = slope.sum(0)
                grad_bias = total if grad_bias is None else grad_bias.add_(total)
        if need_weight and grad_weight is None:
            grad_weight = torch.zeros_like(weight)
        if need_bias and grad_bias is None:
            grad_bias = torch.zeros_like(bias)
        return grad_hidden, grad_weight, grad_bias, None, None


def _evaluate(hidden: Tensor, head: Projection, row: Row, rows: slice, *, need: bool) -> tuple[Tensor, Tensor]:
    """Values [C] and, when asked for, the gradient with respect to the raw products [C, V] in the dtype of `hidden`."""
    logits = head.finish(torch.nn.functional.linear(hidden, head.weight, head.bias).float())
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
    return value, slope.to(hidden.dtype)


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    rows = max(1, CHUNK // weight.shape[0])
    return [slice(start, min(start + rows, hidden.shape[0])) for start in range(0, hidden.shape[0], rows)]
