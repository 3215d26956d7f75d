"""What a gradient method may plug into its training, besides the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..combiners._combiner import Combiner
from ..combiners.sum import Sum
from ..data.example import Example
from ..stops._stop import Stop
from ..stops.steps import Steps
from ..tokens._token_weights import TokenWeights
from ..tokens.all import All


class Limit:
    """Bounds on where a training may go. Tensors are changed in place, and named as the model names them."""

    def gradients(self, grads: Mapping[str, Tensor]) -> None:
        """Before each optimiser step, and before clipping."""

    def weights(self, name: str, now: Tensor, before: Tensor, rate: float) -> None:
        """After each optimiser step: `before` is the parameter before the first step, `rate` the learning rate."""


@dataclass(frozen=True)
class Plugs:
    """Everything but the loss; the defaults change nothing."""

    combine: Combiner = field(default_factory=Sum)
    stop: Stop = field(default_factory=Steps)
    tokens: TokenWeights = field(default_factory=All)
    weighted: str = "forget"
    """The role whose tokens `tokens` weighs."""
    watched: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    """Rows that `combine` and `stop` may ask about: ``forget``, ``retain``, ``utility``."""
    only: Callable[[str], bool] | None = None
    """Which parameters train, by name; None is all that can."""
    limit: Limit | None = None
