"""Rows of ids → padded arrays, and which rows share a forward. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .template import Encoded

Ints = NDArray[np.int64]


def pad(rows: Sequence[Encoded], pad_id: int) -> tuple[Ints, Ints, Ints]:
    """Right-padded ids of `rows`.

    Returns:
        ``input_ids [B, T]``, ``lengths [B]`` and ``answer_start [B]``, all int64. What is padding follows from
        `lengths` alone; `pad_id` may be an ordinary token.

    Raises:
        DataError: no rows.
    """
    if not rows:
        raise DataError("a batch needs at least one row")
    lengths = np.array([len(r) for r in rows], dtype=np.int64)
    ids = np.full((len(rows), int(lengths.max())), pad_id, dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate([np.asarray(r.input_ids, np.int64) for r in rows])
    return ids, lengths, np.array([r.answer_start for r in rows], dtype=np.int64)


def groups(lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Rows that share a forward: as few groups as the budget allows and, among those, the least padding.

    Args:
        lengths: Tokens of each row.
        micro_tokens: Longest row × rows of a group, at most. A longer row makes a group of its own.

    Returns:
        Indices into `lengths`, each once; longest group first, so that running out of memory shows at once.

    Raises:
        DataError: `micro_tokens` below 1.
    """
    if micro_tokens < 1:
        raise DataError(f"micro_tokens is {micro_tokens}, expected at least 1", "train.micro_tokens=1024")
    order = _longest_first(lengths)
    size = np.asarray(lengths, dtype=np.int64)[order]
    n = len(order)
    # best[j]: cost of the first j rows. A group costs its padded tokens and a fee above what all padding can add up to.
    fee = n * int(size[0]) + 1 if n else 1
    best = np.zeros(n + 1, dtype=np.int64)
    came = np.zeros(n + 1, dtype=np.int64)
    low = 0
    for j in range(1, n + 1):
        while low < j - 1 and int(size[low]) * (j - low) > micro_tokens:
            low += 1
        first = np.arange(low, j)
        cost = best[low:j] + size[low:j] * (j - first) + fee
        pick = int(cost.argmin())
        best[j], came[j] = cost[pick], low + pick
    return _unroll(order, came.tolist(), n)


def split_sorted(lengths: Sequence[int], k: int) -> list[list[int]]:
    """`lengths` in exactly `k` groups with the least padding there is (dynamic programme over the sorted rows).

    Some best split is contiguous in sorted order: swapping two rows of different groups into order never widens either.

    Returns:
        `k` non-empty lists of indices into `lengths`, each index once, longest group first.

    Raises:
        DataError: `k` below 1 or above the number of rows.
    """
    n = len(lengths)
    if not 1 <= k <= n:
        raise DataError(f"{n} rows cannot be split into {k} groups of at least one row")
    order = _longest_first(lengths)
    size = np.asarray(lengths, dtype=np.int64)[order]
    none = np.iinfo(np.int64).max // 4
    best = np.full(n + 1, none, dtype=np.int64)
    best[0] = 0
    came = np.zeros((k + 1, n + 1), dtype=np.int64)
    for g in range(1, k + 1):
        now = np.full(n + 1, none, dtype=np.int64)
        for j in range(g, n + 1):
            first = np.arange(g - 1, j)
            cost = best[g - 1 : j] + size[g - 1 : j] * (j - first)
            pick = int(cost.argmin())
            now[j], came[g, j] = cost[pick], g - 1 + pick
        best = now
    out, j = [], n
    for g in range(k, 0, -1):
        i = int(came[g, j])
        out.append([int(x) for x in order[i:j]])
        j = i
    return out[::-1]


def padding(lengths: Sequence[int], parts: Sequence[Sequence[int]]) -> float:
    """Share of padded tokens that are padding when `parts` are padded each to its longest row; 0 for no rows."""
    padded = sum(max(lengths[i] for i in part) * len(part) for part in parts if part)
    real = sum(lengths[i] for part in parts for i in part)
    return 1 - real / padded if padded else 0.0


def _longest_first(lengths: Sequence[int]) -> Ints:
    return np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")


def _unroll(order: Ints, came: list[int], n: int) -> list[list[int]]:
    out, j = [], n
    while j:
        out.append([int(x) for x in order[came[j] : j]])
        j = came[j]
    return out[::-1]
