"""Which rows each optimiser step sees: a pure function of (seed, step), so that a resume replays nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.batch import split_sorted
from ..errors import DataError
from ..naming import derive_seed
from .batch import Counts, MicroBatch, Row

DRAWN = "retain"
"""The role whose rows are drawn at random, one for each row of the first role; roles called ``retain_…`` are drawn
with it, and all others go along with the first role by index."""
_WASTE = 0.05
"""More micro-batches than the budget asks for are made while padding exceeds this share …"""
_EXTRA = 2
"""… but at most this many times as many."""


@dataclass(frozen=True)
class Batch:
    """The rows of one optimiser step, split for memory."""

    micros: tuple[MicroBatch, ...]
    counts: Mapping[str, Counts]
    real_tokens: int
    padded_tokens: int
    """Tokens computed, `real_tokens` when nothing is padded."""


class Schedule(Sequence[Batch]):
    """All batches of a training, by step number, each made when it is asked for.

    The first role drives: an epoch is one pass over its rows in the order ``perm(seed, epoch)``. Row i of every
    other role accompanies row i of the first, but for `DRAWN`, whose partner of row i is drawn anew in every epoch.

    Args:
        rows: Encoded rows by role; the first role must not be empty.
        seed: Of the run.
        batch: Rows of the first role per step.
        micro_tokens: Padded tokens per forward, about.
        epochs: Passes over the first role, maybe a fraction.
        max_steps: Overrides `epochs` when positive.
        paired: Keep the rows of one item in one micro-batch.
        pad_id: Fills the batches.
        packed: Rows will be laid end to end, so that only the budget decides how a batch is split.
        apart: Keep drawn rows out of the micro-batches of the others (unless `paired`): their gradients are wanted
            one by one.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[Row]],
        *,
        seed: int,
        batch: int,
        micro_tokens: int,
        epochs: float,
        max_steps: int = -1,
        paired: bool = False,
        pad_id: int,
        packed: bool = False,
        apart: bool = False,
    ):
        self._rows = {role: list(members) for role, members in rows.items()}
        self._first = next(iter(self._rows))
        self._seed = seed
        self._batch = batch
        self._micro_tokens = micro_tokens
        self._paired = paired
        self._pad_id = pad_id
        self._packed = packed
        self._apart = apart
        size = len(self._rows[self._first])
        _check(self._rows, self._first)
        self.steps_per_epoch = math.ceil(size / batch)
        self.resting: frozenset[int] = frozenset()
        """Numbers of the rows of the first role that are left out for now, never all of them."""
        self.steps = max_steps if max_steps > 0 else max(1, math.ceil(epochs * self.steps_per_epoch - 1e-9))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:  # type: ignore[override]
        items = [self._item(epoch, i) for epoch, i in self._indices(step)]
        counts = {role: Counts.of([item[role] for item in items]) for role in self._rows}
        if self._paired:
            units = items
        else:
            units = [{role: row} for item in items for role, row in item.items()]
        groups = [units]
        if self._apart and not self._paired:
            groups = [[u for u in units if all(map(_drawn, u)) == drawn] for drawn in (False, True)]
        parts = [[group[i] for i in part] for group in groups if group for part in self._split(group)]
        micros = tuple(
            MicroBatch.of({role: [unit[role] for unit in part if role in unit] for role in self._rows}, self._pad_id)
            for part in parts
        )
        real = sum(row.length for item in items for row in item.values())
        return Batch(micros, counts, real, real if self._packed else sum(micro.padded_tokens for micro in micros))

    def _indices(self, step: int) -> list[tuple[int, int]]:
        """(epoch, row number) of one step's items."""
        epoch, at = divmod(step, self.steps_per_epoch)
        size = len(self._rows[self._first])
        order = np.random.default_rng(derive_seed(self._seed, "order", epoch)).permutation(size)
        if not self.resting:
            return [(epoch, int(i)) for i in order[at * self._batch : (at + 1) * self._batch]]
        awake = [int(i) for i in order if i not in self.resting]
        # as many steps as ever, each with fewer rows; a step left with none takes one in turn
        return [(epoch, i) for i in awake[at :: self.steps_per_epoch] or [awake[at % len(awake)]]]

    def _item(self, epoch: int, i: int) -> dict[str, Row]:
        item = {}
        for role, members in self._rows.items():
            partner = _drawn(role) and role != self._first
            item[role] = members[derive_seed(self._seed, DRAWN, epoch, i) % len(members) if partner else i]
        return item

    def _split(self, units: Sequence[Mapping[str, Row]]) -> list[list[int]]:
        """Units of similar length together: as many groups as the budget needs, more while padding is too much."""
        sizes = [max(row.length for row in unit.values()) for unit in units]
        rows = [len(unit) for unit in units]
        width = max(rows)
        total = sum(size * n for size, n in zip(sizes, rows, strict=True))
        least = min(max(1, math.ceil(total / self._micro_tokens)), len(sizes))
        if self._packed:
            return _level(sizes, least)
        most = min(max(least, least * _EXTRA), len(sizes))
        for k in range(least, most + 1):
            parts = split_sorted(sizes, k)
            padded = sum(max(sizes[i] for i in part) * len(part) for part in parts)
            largest = max(max(sizes[i] for i in part) * len(part) * width for part in parts)
            if padded * (1 - _WASTE) <= sum(sizes) and largest <= 1.5 * self._micro_tokens:
                break
        return parts


def _level(sizes: Sequence[int], k: int) -> list[list[int]]:
    """Units sorted by length in at most `k` groups of about as many tokens."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    middle = np.cumsum([sizes[i] for i in order]) - np.array([sizes[i] / 2 for i in order])
    group = (middle * k // sum(sizes)).astype(int)
    return [[i for i, g in zip(order, group, strict=True) if g == wanted] for wanted in sorted(set(group))]


def _drawn(role: str) -> bool:
    return role == DRAWN or role.startswith(f"{DRAWN}_")


def _check(rows: Mapping[str, Sequence[Row]], first: str) -> None:
    size = len(rows[first])
    if not size:
        raise DataError(f"there are no {first} rows to train on", f"give at least one {first} row")
    for role, members in rows.items():
        if role == DRAWN and not members:
            raise DataError(
                "the method needs retain rows, and there are none",
                "give retain=, or choose a method without a retain term",
            )
        leader = DRAWN if _drawn(role) else first
        if len(members) != len(rows.get(leader, members)):
            raise DataError(f"{len(members)} {role} rows for {len(rows[leader])} {leader} rows, expected as many")
