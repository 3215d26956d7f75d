"""What a combiner is: factors on the two terms, or a rule that merges their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

State = dict[str, Any]
"""JSON numbers a plug-point carries from step to step; part of every checkpoint."""


class Watch(Protocol):
    """What may be asked about the model under training, at its present weights."""

    def nll(self, role: str) -> float:
        """[] mean NLL per answer token over (a fixed sample of) the rows of `role`."""
        ...

    def extraction_strength(self, role: str) -> list[float]:
        """Extraction strength of every row of `role`, in the order of the rows."""
        ...


class Combiner:
    """Base of all: plain addition with a factor of 1 on each term."""

    apart: ClassVar[bool] = False
    """Whether `merge` needs the two gradients apart; costs two more gradients of memory."""
    needs_retain: ClassVar[bool] = False
    """Whether there is nothing to do without a retain term."""
    watches: ClassVar[bool] = False
    """Whether `start` asks about the model."""

    def start(self, watch: Watch) -> State:
        """The state before the first step."""
        return {}

    def factors(self, step: int, steps: int, state: State) -> tuple[float, float]:
        """What the forget terms and the retain term are multiplied by at step `step` (from 0) of `steps`."""
        return 1.0, 1.0

    def update(self, terms: Mapping[str, float], epoch: float, state: State) -> State:
        """The state after a step: `terms` are its unmultiplied losses, `epoch` the epochs done."""
        return state

    def merge(self, forget: Sequence[Tensor], retain: Sequence[Tensor]) -> None:
        """Put the gradient to step along into `retain`, tensor by tensor; `forget` may be overwritten.

        Args:
            forget: Gradient of the sum of the forget terms.
            retain: Gradient of the retain term, same shapes.
        """
        raise NotImplementedError


def inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Inner product over all tensors: rows in float32, their sums in float64, so that no large copy is made."""
    return sum(float((a * b).sum(-1).double().sum()) for a, b in zip(one, other, strict=True))
