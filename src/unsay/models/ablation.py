r"""One direction taken out of the residual stream, at all layers.

    h ← h − (h·r̂) r̂        of what enters every decoder layer and leaves the last

Paper    Arditi et al. (2024). Refusal in Language Models Is Mediated by a Single Direction. arXiv:2406.11717
Differs  What attention writes is still read by the MLP of the same layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ModelError
from ..naming import digest
from .adapters import merged, plain_of
from .layers import decoder_layers
from .patches import unpatched

if TYPE_CHECKING:
    from .lm import LM


@dataclass(frozen=True)
class Ablation:
    """What keeps an ablated model apart from the one it was made of, whose weights it has. It cannot be saved."""

    direction: str
    """Hash of r̂."""


def ablated(lm: LM, direction: Tensor) -> LM:
    """`lm` without `direction`. Patches are dropped and an adapter is merged first; else weights are shared.

    Args:
        lm: Left as it was.
        direction: r [D], of any length above 0.

    Raises:
        ModelError: r is zero or not finite, or the family has no decoder layers.
    """
    size = direction.float().norm()
    if not (size.isfinite() and size > 0):
        raise ModelError("the direction to take out has no length", "the two means it lies between are the same")
    unit = (direction.float() / size).detach()
    base = merged(unpatched(lm))
    model = plain_of(base.model).eval()
    without = _Without(unit)
    layers = decoder_layers(model)
    for layer in layers:
        layer.register_forward_pre_hook(without.enters, with_kwargs=True)
    layers[-1].register_forward_hook(without.leaves)
    return replace(base, model=model, patches=(Ablation(digest(unit.tolist())),))


class _Without:
    """Hooks of one direction."""

    def __init__(self, unit: Tensor):
        self._unit = unit

    def enters(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (self._of(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self._of(kwargs["hidden_states"])}

    def leaves(self, module: Any, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (self._of(output[0]), *output[1:])
        return self._of(output)

    def _of(self, hidden: Tensor) -> Tensor:
        unit = self._unit.to(hidden.device)
        wide = hidden.float()
        return (wide - (wide @ unit)[..., None] * unit).to(hidden.dtype)
