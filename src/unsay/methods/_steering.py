"""What RMU and adaptive RMU share: a layer's output is steered toward a random direction; only a few weights train."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ..data.example import ForgetData
from ..errors import MethodError, PlanError
from ..training.forward import layer_number
from ..training.objective import Objective
from ..training.plugs import Plugs
from ..training.reference import Uses
from ..training.step import Step, View

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Steering(Objective):
    """Steer ``h_layer`` on forget rows, hold it on retain rows; nothing above the layer runs."""

    layer: str = "1/4"
    """The decoder layer l: its number from 0, or a share of the depth."""
    span: int = 3
    """How many layers train, l among them: l − span + 1 … l."""
    parameters: str = r"(down_proj|dense_4h_to_h|fc2|c_proj)\."
    """Regular expression of the names of what trains in them."""
    direction_seed: int = 0
    """Of the random direction u."""
    retain: Literal["none", "nll", "kl", "hidden"] = "hidden"
    """What holds the retain rows; hidden is the same layer's output."""

    compares: ClassVar[Uses] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.span < 1:
            raise PlanError(f"span: should be at least 1, got {self.span!r}", "3 is the paper's")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer steered."""
        return (self.layer,)

    @property
    def shallow(self) -> bool:  # type: ignore[override]
        """Unless the retain term reads logits."""
        return self.retain in ("none", "hidden")

    def plugs(self, lm: LM, data: ForgetData, run: Run) -> Plugs:
        """Train the named parameters alone.

        Raises:
            MethodError: no parameter of those layers has such a name.
        """
        last = layer_number(lm.model, self.layer)
        wanted = range(max(0, last - self.span + 1), last + 1)

        def chosen(name: str) -> bool:
            at = _NUMBER.search(name)
            return at is not None and int(at[1]) in wanted and re.search(self.parameters, name) is not None

        if not any(chosen(name) for name, p in lm.model.named_parameters() if p.requires_grad):
            raise MethodError(
                f"no trainable parameter of layers {wanted[0]} to {last} matches {self.parameters!r}",
                "method.parameters='a regular expression', see the names in the model's safetensors",
            )
        return replace(super().plugs(lm, data, run), only=chosen)

    def length(self, view: View) -> Tensor | float:
        """How far along u: a number, or [B, T, 1]."""
        raise NotImplementedError

    def forget_term(self, step: Step) -> Tensor:
        """Mean squared distance to the steered target."""
        hidden = step.forget.hidden(self.layer).float()
        target = self.length(step.forget) * unit(hidden.shape[-1], self.direction_seed).to(hidden.device)
        return step.forget.hidden_mean((hidden - target).square().mean(-1))

    def retain_term(self, step: Step) -> Tensor:
        """Distance to where the layer was, or the term asked for."""
        return step.retain.drift(self.layer) if self.retain == "hidden" else super().retain_term(step)


def unit(width: int, seed: int) -> Tensor:
    """[D] unit vector of independent uniform numbers from [0, 1), as the authors draw it."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm()
