"""What a rule for token weights is: numbers ≥ 0, one for each answer token of each forget row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data.example import Example
from ..data.template import Encoded

Weights = NDArray[np.float32]
"""[answer tokens] of one row."""


@dataclass(frozen=True, slots=True)
class Item:
    """A forget row as text and as tokens."""

    example: Example
    tokens: Encoded
    pieces: tuple[str, ...]
    """Text of each answer token."""


class Scorer(Protocol):
    """Token likelihoods under models that exist before the first step."""

    def nll(self, rows: Sequence[Encoded], model: str = "") -> list[NDArray[np.float32]]:
        """−log p of every answer token of each row, under the model before unlearning or the one at path `model`."""
        ...

    @property
    def ordinary_tokens(self) -> NDArray[np.int64]:
        """Ids of the vocabulary without special tokens."""
        ...


class TokenWeights:
    """Base of all."""

    dynamic: ClassVar[bool] = False
    """Whether `now` chooses anew at every step; the sums of its weights per row must be those of `before`."""

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """The weights of every row, found once before the first step.

        Args:
            items: The forget rows.
            scorer: For rules that look at likelihoods.
            seed: Of the run.

        Returns:
            One array per row; at least one weight of a row is positive.
        """
        raise NotImplementedError

    def now(self, nll: Tensor, mask: Tensor) -> Tensor:
        """[B, T-1] weights from the present token NLLs [B, T-1] (detached), 0 off the answer `mask` [B, T-1]."""
        raise NotImplementedError


def top_share(scores: NDArray[np.float64], share: float) -> Weights:
    """1 for the `share` of the tokens with the largest scores (at least one; the earlier of equals), else 0."""
    count = max(1, round(share * len(scores)))
    weights = np.zeros(len(scores), np.float32)
    weights[np.argsort(-scores, kind="stable")[:count]] = 1
    return weights
