"""Token trees: all answers to one prompt as one sequence in which shared beginnings stand once.

A prompt with seven candidate answers costs one forward over its tree instead of seven over prompt + answer. Each node
attends to its ancestors alone and has its depth as position, so its hidden state is that of the plain sequence. Last
tokens predict nothing and are not fed at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Leaf:
    """One answer within a tree of T nodes."""

    index: int
    """Position of its sequence in the list that was planted."""
    before: NDArray[np.int64]
    """[L] node that predicts each answer token."""
    target: NDArray[np.int64]
    """[L] the answer tokens."""


@dataclass(frozen=True)
class Tree:
    """T nodes, parents before children; node 0 is the first token of every sequence."""

    tokens: NDArray[np.int64]
    """[T]"""
    parents: NDArray[np.int64]
    """[T] index of the parent, −1 at the root."""
    depths: NDArray[np.int64]
    """[T] position of the node in its sequence."""
    leaves: tuple[Leaf, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def chain(self) -> bool:
        """Whether it is a plain sequence: causal attention without a mask does."""
        return bool(self.depths[-1] == len(self.depths) - 1)

    @property
    def before_all(self) -> int:
        """How many of the first nodes are on every path and predict no answer token."""
        return min(int(leaf.before[0]) for leaf in self.leaves)

    @property
    def longest(self) -> int:
        """Nodes of the longest path."""
        return int(self.depths.max()) + 1

    def ancestors(self) -> NDArray[np.bool_]:
        """[T, T] whether column is an ancestor of row, or the row itself."""
        seen = np.zeros((len(self), len(self)), bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def grow(sequences: Sequence[tuple[int, Sequence[int], int]], limit: int) -> list[Tree]:
    """Trees of at most `limit` nodes (more only where a single sequence is longer) over sequences of one prompt.

    Args:
        sequences: (index, token ids, where the answer starts, at least 1); all start with the same token.
        limit: Nodes per tree.
    """
    trees: list[Tree] = []
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    children: dict[tuple[int, int], int] = {}
    leaves: list[Leaf] = []

    def harvest() -> None:
        if leaves:
            token, parent, depth = (np.array(x, np.int64) for x in (tokens, parents, depths))
            trees.append(Tree(token, parent, depth, tuple(leaves)))
        for part in (tokens, parents, depths, children, leaves):
            part.clear()

    for index, ids, start in sequences:
        shared, node = 0, -1
        while shared < len(ids) - 1 and (node, ids[shared]) in children:
            node = children[node, ids[shared]]
            shared += 1
        if leaves and len(tokens) + len(ids) - 1 - shared > limit:
            harvest()
        path, node = [], -1
        for depth, token in enumerate(ids[:-1]):
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depth)
            path.append(child)
            node = child
        leaves.append(Leaf(index, np.array(path[start - 1 :], np.int64), np.array(ids[start:], np.int64)))
    harvest()
    return trees
