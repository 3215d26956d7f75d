"""What most papers propose: a forget term and something that holds the retain rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from ..combiners._combiner import Combiner
from ..combiners.sum import Sum
from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..stops._stop import Stop
from ..stops.steps import Steps
from ..tokens._token_weights import TokenWeights
from ..tokens.all import All
from .gradient import GradientMethod
from .plugs import Plugs
from .reference import Uses
from .step import Step

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Objective(GradientMethod):
    """L = γ·L_forget + α·L_retain. A method gives `forget_term`, and changes the defaults it needs to."""

    forget_weight: float = 1.0
    """γ."""
    retain: Literal["none", "nll", "kl", "hidden"] = "nll"
    """What holds the retain rows: nothing, their NLL, KL to the model before, or the distance of a layer's output."""
    retain_weight: float = 1.0
    """α."""
    retain_layer: str = "1/2"
    """Layer of retain=hidden: its number, or a share of the depth."""
    tokens: TokenWeights = field(default_factory=All)
    """Which tokens of the forget answers count: see unsay list tokens."""
    combine: Combiner = field(default_factory=Sum)
    """How the two gradients become one: see unsay list combiners."""
    stop: Stop = field(default_factory=Steps)
    """When it ends early: see unsay list stops."""

    compares: ClassVar[Uses] = False
    """What `forget_term` reads of the reference; see `GradientMethod.uses_reference`."""

    def __post_init__(self) -> None:
        if self.combine.needs_retain and self.retain == "none":
            raise PlanError("combine: there is no retain term to combine with", "retain=nll")

    @property
    def uses_retain(self) -> bool:  # type: ignore[override]
        """Only with a retain term."""
        return self.retain != "none"

    @property
    def uses_reference(self) -> Uses:  # type: ignore[override]
        """What the two terms read together."""
        return True if self.retain in ("kl", "hidden") else self.compares

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer of retain=hidden."""
        return (self.retain_layer,) if self.retain == "hidden" else ()

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """Roles of the forget term, the first of which drives."""
        return {"forget": data.forget}

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """Those of the forget term, and ``retain``."""
        return self.forget_rows(data, run) | ({"retain": data.retain} if self.uses_retain else {})

    def plugs(self, lm: LM, data: ForgetData, run: Run) -> Plugs:
        """The three plug-points, and what they may watch."""
        rows = {"forget": data.forget, "retain": data.retain, "utility": data.utility}
        watches = self.stop.every > 0 or self.combine.watches
        return Plugs(
            combine=self.combine,
            stop=self.stop,
            tokens=self.tokens,
            watched={role: members for role, members in rows.items() if members and watches},
        )

    def forget_term(self, step: Step) -> Tensor:
        """[] L_forget of one micro-batch."""
        raise NotImplementedError

    def retain_term(self, step: Step) -> Tensor:
        """[] L_retain of one micro-batch."""
        if self.retain == "kl":
            return step.retain.kl
        return step.retain.drift(self.retain_layer) if self.retain == "hidden" else step.retain.nll

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Both terms with their weights."""
        terms = {"forget": self.forget_weight * self.forget_term(step)}
        if self.uses_retain:
            terms["retain"] = self.retain_weight * self.retain_term(step)
        return terms
