"""Arithmetic between two models, tensor by tensor in fp32: extrapolation, interpolation, a norm-matched random control.

Tied weights are moved once; buffers (rotary frequencies and the like) are left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ModelError
from ..naming import derive_seed
from .adapters import merged
from .lm import LM


def extrapolate(before: LM, after: LM, scale: float) -> LM:
    """θ0 + scale·(θu − θ0).

    A scale between 0 and 1 interpolates, above 1 goes further than `after` did (UIPE, arXiv:2503.04693: scale = 1 + α),
    below 0 goes the other way. 0 and 1 give `before` and `after` exactly. Adapters are merged first, since the
    step is not linear in A and B.

    Args:
        before: θ0.
        after: θu, of the same architecture.
        scale: How far along the line.

    Returns:
        A new plain model in the dtype of `after`.

    Raises:
        ModelError: the two do not have the same tensors.
    """
    return _between(before, after, lambda _, old, new: torch.lerp(old, new, scale))


def random_control(before: LM, after: LM, seed: int) -> LM:
    """θ0 + a random step as long as θu − θ0, tensor by tensor: what a change of this size does by itself.

    Args:
        before: θ0.
        after: θu, of the same architecture.
        seed: Of the directions; each tensor has its own stream, named after it.

    Raises:
        ModelError: the two do not have the same tensors.
    """

    def step(name: str, old: Tensor, new: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(seed, name))
        noise = torch.randn(old.shape, generator=generator).to(old.device)
        return old + noise * ((new - old).norm() / noise.norm())

    return _between(before, after, step)


@torch.no_grad()
def distance(before: LM, after: LM) -> tuple[float, float]:
    """‖θu − θ0‖₂ and ‖θ0‖₂ over all parameters, in float64; adapters are merged first.

    Raises:
        ModelError: the two do not have the same tensors.
    """
    old, new = paired(before, after)
    moved = sum(float((new[n].double() - old[n].to(new[n].device).double()).square().sum()) for n in new)
    return moved**0.5, sum(float(tensor.double().square().sum()) for tensor in old.values()) ** 0.5


def paired(before: LM, after: LM) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters of θ0 and of θu by name, adapters merged.

    Raises:
        ModelError: the two do not have the same tensors, or are patched differently.
    """
    patched_alike(before, after)
    old = dict(merged(before).model.named_parameters())
    new = dict(merged(after).model.named_parameters())
    odd = sorted(old.keys() ^ new.keys()) or sorted(n for n in new if old[n].shape != new[n].shape)
    if odd:
        raise ModelError(
            f"{before.origin} and {after.origin} are not two states of one model: they differ in {', '.join(odd[:3])}",
            "give models of the same architecture",
        )
    return old, new


def patched_alike(before: LM, after: LM) -> None:
    """Refuse a θu that differs from θ0 in its patches (see `patches`).

    Raises:
        ModelError: it does.
    """
    if before.patches != after.patches:
        named = {type(patch).__name__.lower() for patch in (*before.patches, *after.patches)}
        raise ModelError(
            f"the model after differs from {before.origin} by a patch ({', '.join(sorted(named))}): what a patch does "
            "is not in the weights, so there is no line through the two",
            "take a method that changes the weights",
        )


@torch.no_grad()
def _between(before: LM, after: LM, combine: Callable[[str, Tensor, Tensor], Tensor]) -> LM:
    """A copy of `after` whose every parameter is `combine(name, θ0, θu)`, both given in fp32."""
    plain = merged(after)
    result = after.fork() if plain is after else plain
    old, new = paired(before, result)
    for name, parameter in new.items():
        origin = old[name].to(parameter.device, torch.float32)
        parameter.copy_(combine(name, origin, parameter.float()))
    return result
