r"""TIES: one model out of several that started from the same weights, without what they disagree about.

    τ̂_i = τ_i where |τ_i| is among the largest `density` of its tensor, else 0      τ_i = θ_i − θ_0
    γ   = sgn( Σ_i τ̂_i )      θ = θ_0 + mean over i with sgn(τ̂_i) = γ of w_i·τ̂_i, element by element

Paper    Yadav, Tam, Choshen, Raffel, Bansal (2023). TIES-Merging: Resolving Interference When Merging Models.
         arXiv:2306.01708
Differs  The paper scales the merged change as a whole; weights w_i, and their place, are those of peft.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import MethodError, ModelError
from .adapters import merged
from .fusion import lora_layers
from .lm import LM


def ties(changes: Sequence[Tensor], density: float, weights: Sequence[float] | None = None) -> Tensor:
    """The merged change of one tensor.

    Args:
        changes: τ_i, all of one shape.
        density: Share of each that is kept, by magnitude.
        weights: w_i; None is 1 each.

    Returns:
        A tensor of the same shape, in float32.

    Raises:
        MethodError: nothing to merge, or as many weights as changes are not given.
    """
    weights = [1.0] * len(changes) if weights is None else weights
    if not changes or len(weights) != len(changes):
        raise MethodError(f"{len(changes)} changes with {len(weights)} weights cannot be merged", "one weight for each")
    kept = torch.stack([trimmed(change.float(), density) for change in changes])
    sign = kept.sum(0).sign()
    agree = (kept.sign() == sign) & (kept != 0)
    scale = torch.tensor(weights, device=kept.device).view(-1, *[1] * (kept.dim() - 1))
    return (kept * agree * scale).sum(0) / agree.sum(0).clamp(min=1)


def trimmed(change: Tensor, density: float) -> Tensor:
    """`change` with all but its ⌊density · size⌋ largest magnitudes set to 0; ties go to the first."""
    count = int(density * change.numel())
    flat = change.flatten()
    top = flat.abs().sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(flat).index_copy(0, top, flat[top]).view_as(change)


@torch.no_grad()
def merge_weights(before: LM, after: Sequence[LM], density: float, weights: Sequence[float]) -> LM:
    """θ: every parameter of `before` plus the merged change, in a new plain model.

    Raises:
        ModelError: not states of one model.
    """
    plain = merged(before)
    result = before.fork() if plain is before else plain
    others = [dict(merged(lm).model.named_parameters()) for lm in after]
    for name, parameter in result.model.named_parameters():
        if any(name not in found or found[name].shape != parameter.shape for found in others):
            raise ModelError(f"the models differ in {name}", "give states of one model")
        start = parameter.float()
        changes = [found[name].to(parameter.device).float() - start for found in others]
        if any(bool(change.any()) for change in changes):
            parameter.copy_(start + ties(changes, density, weights))
    return result


@torch.no_grad()
def merge_adapters(after: Sequence[LM], density: float, weights: Sequence[float]) -> LM:
    """The adapters of `after` as one: A and B each merged, an adapter's weight going into both by its square root.

    So does peft's ``add_weighted_adapter(combination_type="ties")``. The product of merged factors is not the merged
    product, but the result stays an adapter of the same rank.

    Args:
        after: Adapters made alike on the same weights.
        density: See `ties`.
        weights: At least 0.

    Raises:
        MethodError: an adapter is missing, or is of another kind or shape than the first.
    """
    layers = [lora_layers(lm) for lm in after]
    result = after[0].fork()
    roots = [math.sqrt(weight) for weight in weights]
    for name, layer in lora_layers(result).items():
        for side in ("lora_A", "lora_B"):
            given = [getattr(found[name], side)["default"].weight for found in layers if name in found]
            target = getattr(layer, side)["default"].weight
            if len(given) < len(layers) or any(g.shape != target.shape for g in given):
                raise MethodError(f"the adapters differ in {name}", "make them with the same model.adapter")
            target.copy_(ties(given, density, roots))
    return replace(result, model=result.model.eval())
