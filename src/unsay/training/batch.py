"""What a forward pass is given: encoded rows of one or more roles, and the counts their means divide by.

Letters, here and in `step`: B sequences, T tokens, V vocabulary, D width, A answer tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.batch import pad
from ..data.example import Example
from ..data.template import Encoded, Template
from ..naming import digest


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded row; `key` is a content hash of its tokens, by which cached numbers are found."""

    tokens: Encoded
    key: str
    weights: NDArray[np.float32] | None = None
    """[answer tokens] how much each counts; None is 1 each."""

    @property
    def length(self) -> int:
        """Tokens, prompt included."""
        return len(self.tokens.input_ids)

    @property
    def answer_tokens(self) -> int:
        """Tokens that carry the loss, end of turn included."""
        return self.length - self.tokens.answer_start

    @property
    def mass(self) -> float:
        """Sum of the token weights: what a mean over tokens divides by."""
        return self.answer_tokens if self.weights is None else float(self.weights.sum(dtype=np.float64))


def encode_rows(rows: Sequence[Example], template: Template, max_length: int | None = None) -> list[Row]:
    """`rows` as tokens, cut at `max_length` tokens when one is given (the data checks have counted what that cuts)."""
    encoded = template.encode_many([(row.prompt, row.answer) for row in rows])
    if max_length is not None:
        encoded = [tokens.cut(max_length) for tokens in encoded]
    return [Row(tokens, digest([tokens.input_ids, tokens.answer_start], 8)) for tokens in encoded]


@dataclass(frozen=True, slots=True)
class Counts:
    """Size of one role over a whole accumulated batch."""

    sequences: int = 0
    answer_tokens: float = 0
    """Answer tokens, each counted by its weight."""
    unweighted: float = 0
    """Answer tokens less `answer_tokens`: what weights below 1 leave out."""
    predicted: int = 0
    """Tokens with another before them, prompts included: what means over whole rows divide by."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Counts:
        """The size of `rows`."""
        mass = sum(row.mass for row in rows)
        rest = sum(row.answer_tokens for row in rows) - mass
        return cls(len(rows), mass, rest, sum(row.length - 1 for row in rows))


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one forward, right-padded; the rows of a role lie next to each other."""

    input_ids: Tensor
    """[B, T] int64"""
    lengths: Tensor
    """[B] int64"""
    answer_start: Tensor
    """[B] int64, ≥ 1"""
    keys: tuple[str, ...]
    roles: Mapping[str, slice]
    weights: Tensor | None = None
    """[B, T-1] float32: how much the next token counts, 0 off the answer; None is 1 for every answer token."""

    @classmethod
    def of(cls, rows: Mapping[str, Sequence[Row]], pad_id: int) -> MicroBatch:
        """Pad the rows of every role together. A role may have none."""
        flat: list[Row] = []
        roles: dict[str, slice] = {}
        for role, members in rows.items():
            roles[role] = slice(len(flat), len(flat) + len(members))
            flat.extend(members)
        ids, lengths, start = pad([row.tokens for row in flat], pad_id)
        weights = None
        if any(row.weights is not None for row in flat):
            weights = torch.zeros(ids.shape[0], max(ids.shape[1] - 1, 0))
            for number, row in enumerate(flat):
                own = 1.0 if row.weights is None else torch.from_numpy(row.weights)
                weights[number, row.tokens.answer_start - 1 : row.length - 1] = own
        keys = tuple(r.key for r in flat)
        return cls(torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(start), keys, roles, weights)

    def only(self, role: str) -> MicroBatch:
        """The rows of one role, padded as before (so that shapes agree with the whole)."""
        rows = self.roles[role]
        return MicroBatch(
            self.input_ids[rows],
            self.lengths[rows],
            self.answer_start[rows],
            self.keys[rows],
            {role: slice(0, rows.stop - rows.start)},
            None if self.weights is None else self.weights[rows],
        )

    def to(self, device: torch.device) -> MicroBatch:
        """On another device."""
        return MicroBatch(
            self.input_ids.to(device),
            self.lengths.to(device),
            self.answer_start.to(device),
            self.keys,
            self.roles,
            None if self.weights is None else self.weights.to(device),
        )

    @property
    def padded_tokens(self) -> int:
        """B × T."""
        return self.input_ids.numel()


def answer_mask(batch: MicroBatch) -> Tensor:
    """[B, T-1] bool: positions whose next token belongs to the answer. From lengths, never from pad ids."""
    at = torch.arange(batch.input_ids.shape[1] - 1, device=batch.input_ids.device)
    return (at >= batch.answer_start[:, None] - 1) & (at < batch.lengths[:, None] - 1)
