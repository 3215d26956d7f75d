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

CHUNK = 7 << 20
"""Logits in float32 at a time: 28 MB."""
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
        logps = torch.log_softmax(logits, -1)
        value = logps.gather(1, index)
        slope = logps.exp_().neg_()
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


def divergence_to(reference: Callable[[slice], Tensor]) -> Row:
    """``KL(p ‖ q)`` to a fixed q, given as for `divergence_from`; the gradient is ``p · (log p − log q − KL)``."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        fixed = torch.log_softmax(reference(rows), -1)
        logp = torch.log_softmax(logits, -1)
        gap = logp - fixed
        p = logp.exp_()
        value = (p * gap).sum(-1)
        return value, p.mul_(gap.sub_(value[:, None]))

    return row


def cross_entropy_to(target: Callable[[Tensor, slice], Tensor]) -> Row:
    """``−Σ_v q_v log p_v`` of a fixed q [C, V], which may be made from the logits; its gradient is ``p − q``."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        q = target(logits, rows)
        logp = torch.log_softmax(logits, -1)
        value = -(q * logp).sum(-1)
        return value, logp.exp_().sub_(q)

    return row


def is_best(targets: Tensor) -> Row:
    """1 where the target has the largest logit, else 0; no gradient."""

    def row(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return (logits.argmax(-1) == targets[rows]).float(), torch.zeros_like(logits)

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
        small = states.shape[0] * width * states.element_size() <= KEEP
        keeps = small and any(ctx.needs_input_grad[:3])
        ctx.head, ctx.row, ctx.chunks = head, row, _chunks(states.shape[0], width)
        kept = _product(states, head) if keeps else None
        values = []
        for rows in ctx.chunks:
            raw = _product(states[rows], head) if kept is None else kept[rows]
            value, slope = _evaluate(raw, head, row, rows, need=keeps)
            values.append(value)
            if kept is not None:
                kept[rows] = slope
        ctx.save_for_backward(states, weight, bias, kept)
        return torch.cat(values) if values else states.new_zeros(0, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, kept = ctx.saved_tensors
        grads = _Gradients(ctx.needs_input_grad, states, weight, bias)
        if kept is not None:
            # Out of place: what is kept must survive a second backward through a retained graph.
            grads.add(slice(None), kept * grad[:, None].to(kept.dtype))
        else:
            for rows in ctx.chunks:
                _, slope = _evaluate(_product(states[rows], ctx.head), ctx.head, ctx.row, rows, need=True)
                grads.add(rows, (slope * grad[rows, None]).to(states.dtype))
        return grads.states, grads.weight, grads.bias, None, None


class _Gradients:
    """Sums of what each chunk of rows [C, V] contributes to the gradients of states, weight and bias."""

    def __init__(self, needed: tuple[bool, ...], states: Tensor, weight: Tensor | None, bias: Tensor | None):
        self._given = states, weight
        self.states = torch.zeros_like(states) if needed[0] else None
        self._wants_weight = weight is not None and needed[1]
        self._weight: Tensor | None = None
        self.bias = torch.zeros_like(bias) if bias is not None and needed[2] else None

    def add(self, rows: slice, slope: Tensor) -> None:
        states, weight = self._given
        if self.states is not None:
            self.states[rows] = slope if weight is None else slope @ weight
        if self._wants_weight and self._weight is None:
            self._weight = slope.t() @ states[rows]
        elif self._weight is not None:
            self._weight.addmm_(slope.t(), states[rows])
        if self.bias is not None:
            self.bias += slope.sum(0)

    @property
    def weight(self) -> Tensor | None:
        """[V, D]; zeros when there were no rows."""
        given = self._given[1]
        return (
            torch.zeros_like(given)
            if given is not None and self._wants_weight and self._weight is None
            else self._weight
        )


def _product(states: Tensor, head: Projection | None) -> Tensor:
    """[C, V] in the dtype of `states`: a fresh tensor."""
    return states.clone() if head is None else torch.nn.functional.linear(states, head.weight, head.bias)


def _evaluate(raw: Tensor, head: Projection | None, row: Row, rows: slice, *, need: bool) -> tuple[Tensor, Tensor]:
    """Values [C] and, when asked for, the gradient [C, V] with respect to the products `raw`, which are left alone."""
    scale, softcap = (head.scale, head.softcap) if head else (1.0, None)
    logits = raw.to(torch.float32, copy=True)
    if head is not None:
        logits = head.finish(logits)
    tame = 1 - (logits / softcap) ** 2 if need and softcap is not None else None
    value, slope = row(logits, rows)
    if need and tame is not None:
        slope = slope * tame
    if need and scale != 1.0:
        slope = slope * scale
    return value, slope


def _chunks(count: int, width: int) -> list[slice]:
    rows = max(1, CHUNK // width)
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
