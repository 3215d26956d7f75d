"""Statistics of next-token distributions over the whole vocabulary.

The projection to V logits runs over a few hundred rows at a time, which is where a matrix product is fast; everything
after it over a few rows that stay in cache, since it is bound by memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_HEAD_BYTES = 32 << 20
"""Logits per projection: at most 340 rows of V = 49152 in bf16, half of that in fp32."""
_CACHE_BYTES = 3 << 20
"""fp32 logits worked on at once; three such buffers stay in a last-level cache."""


class Positions(NamedTuple):
    """Statistics of A positions and of Q tokens looked up in them, fp32, on the CPU."""

    logp: Tensor
    """[Q] log-probability of the token, nats."""
    rank: Tensor
    """[Q] tokens more likely than it, int32. Equal logits, frequent in bf16, count at the top only: 0 means that argmax
    (the first of equals) is the token, so that a model without preferences does not pass for one that knows."""
    mean: Tensor
    """[A] Σ p log p, nats (Min-K%++ μ)."""
    std: Tensor
    """[A] √(Σ p (log p − μ)²) (Min-K%++ σ)."""


@torch.inference_mode()
def vocabulary_stats(hidden: Tensor, logits_of: Callable[[Tensor], Tensor], rows: Tensor, tokens: Tensor) -> Positions:
    """Statistics of softmax(logits_of(hidden)), computed in fp32 from logits of any type.

    Args:
        hidden: [A, D] last hidden states.
        logits_of: [a, D] → [a, V], the model's own head, soft-cap and scale included.
        rows: [Q] which of the A positions is looked into, ascending.
        tokens: [Q] which token is looked up there.
    """
    logp, rank, mean, std = [], [], [], []
    done, asked = 0, rows.cpu()
    for logits in _blocks(hidden, logits_of):
        end = done + len(logits)
        first, last = torch.searchsorted(asked, torch.tensor([done, end])).tolist()
        a, b, c, d = _block(logits.float(), rows[first:last] - done, tokens[first:last])
        logp.append(a)
        rank.append(b)
        mean.append(c)
        std.append(d)
        done = end
    found = (torch.cat(parts).cpu() for parts in (logp, rank, mean, std))
    return Positions(*found)


def _blocks(hidden: Tensor, logits_of: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """[a, V] logits of successive rows, few enough to stay in cache."""
    one = logits_of(hidden[:1])
    per_head = max(1, _HEAD_BYTES // one.nbytes)
    per_block = max(1, _CACHE_BYTES // (4 * one.shape[-1]))
    for part in hidden.split(per_head):
        yield from logits_of(part).split(per_block)


def _block(x: Tensor, rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    p = x.softmax(-1)
    # The likeliest token has log p = −log Σ exp(x − max), and softmax already paid for that sum.
    log_total = -p.amax(-1).log()
    x = x - x.amax(-1, keepdim=True)
    gold = x[rows, tokens]
    # One look-up per row, the usual case, spares the gather of whole rows.
    each = x if len(rows) == len(x) and torch.equal(rows, torch.arange(len(x), device=x.device)) else x[rows]
    # Comparing into a float buffer is six times faster on CPUs than summing booleans; counts are exact below 2²⁴.
    rank = torch.gt(each, gold[:, None], out=torch.empty_like(each)).sum(-1).int()
    tied = (rank == 0) & (torch.ge(each, 0, out=torch.empty_like(each)).sum(-1) > 1)
    if tied.any():
        rank[tied] = (each[tied].argmax(-1) != tokens[tied]).int()
    # Moments of x, then moved by −log_total: both sums are over small numbers where p is large.
    p_x = p * x
    first = p_x.sum(-1)
    second = torch.linalg.vecdot(p_x, x)
    return gold - log_total[rows], rank, first - log_total, (second - first.square()).clamp_min(0).sqrt()
