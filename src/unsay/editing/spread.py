"""From values to weights: several layers in turn, each taking its share of what is still missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CollapseError
from ..models.layers import decoder_layers, mlp_norm, mlp_output
from .keys import NOTHING_ASKED, Above, Wanted, at_places, moments, pooled
from .subjects import Request

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True)
class InUse:
    """The keys to keep of one layer."""

    moment: Tensor
    """E[k kᵀ] [d_in, d_in] float64."""
    held_out: Tensor | None
    """The same over texts that are not in `moment`, to tell how far it holds for others; None where there are none."""


Change = Callable[[Tensor, Tensor, InUse, Tensor | None], tuple[Tensor, dict[str, float]]]
"""(keys [n, d_in], residuals [n, d_out], keys to keep, earlier keys [m, d_in] or None) → ΔW [d_out, d_in], and what is
to be said about it; all float64."""

_HELD_OUT = 5
"""Every so many text is held out."""


def spread(
    lm: LM,
    layers: Sequence[int],
    requests: Sequence[Request],
    delta: Tensor,
    keep: Sequence[tuple[int, ...]],
    earlier: Mapping[str, Tensor],
    change: Change,
    run: Run,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Change the output projections of `layers`, in place, until the last layer's output has moved by `delta`.

    Keys and what is missing are measured again before every layer, on the model as it is by then.

    Args:
        lm: Changed in place.
        layers: From below.
        requests: Where.
        delta: [n, D] by how much the last layer's output should move where each request's subject ends.
        keep: Texts whose keys are in use. A fifth of them is held out; what the template begins with counts once.
        earlier: Layer → [m, d_in] keys that should not notice.
        change: The solve.
        run: Signals, progress, log.

    Returns:
        Layer → [m + n, d_in] keys of all edits, on the edited model; and for each layer ``layer``, the number of
        ``keys`` to keep and of those held out, and what `change` says.

    Raises:
        CollapseError: a change is not finite.
    """
    blocks = decoder_layers(lm.model)
    inputs: Wanted = {str(number): (mlp_output(blocks[number]), "in") for number in layers}
    out: Wanted = {"out": (blocks[layers[-1]], "out")}
    out_at = range(_HELD_OUT - 1, len(keep), _HELD_OUT)
    rest = [ids for i, ids in enumerate(keep) if i not in out_at]
    opening = lm.template.encode_prompt(NOTHING_ASKED)
    usual = moments(lm, rest, inputs, run, "keys to keep", opening)
    unseen = moments(lm, [keep[i] for i in out_at], inputs, run, "keys held out", opening)
    before = {name: keys.double().to(lm.device) for name, keys in earlier.items()}
    places = [place for request in requests for place in request.places]
    others = [place for request in requests for place in request.others]
    floor, floor_of_others = (Above(blocks, layers[0]) for _ in range(2))
    goal: Tensor | None = None
    about: list[dict[str, float]] = []
    for at, number in enumerate(layers):
        name, norm = str(number), mlp_norm(blocks[number])
        floor.level = floor_of_others.level = number
        around: Wanted = {} if norm is None else {"norm in": (norm, "in"), "norm out": (norm, "out")}
        seen = at_places(lm, places, {name: inputs[name], **around, **out}, run, f"keys of layer {number}", floor)
        more = seen[name][:0]
        if others:
            more = at_places(lm, others, {name: inputs[name]}, run, "after openings", floor_of_others)[name]
        now = pooled(requests, seen["out"])
        goal = now + delta if goal is None else goal
        residuals = (goal - now).double() / (len(layers) - at)
        if norm is not None:
            residuals = residuals / _gain(seen["norm in"], seen["norm out"])
        other = unseen.get(name)
        kept = InUse(usual[name].mean, None if other is None else other.mean)
        step, said = change(pooled(requests, seen[name], more).double(), residuals, kept, before.get(name))
        add(mlp_output(blocks[number]), step)
        count = {"keys": usual[name].count, "keys_held_out": 0 if other is None else other.count}
        about.append({"layer": number, **count, **said})
        missing = round(float((goal - now).norm(dim=1).mean()), 4)
        run.log(missing=missing, change=float(step.norm()), **about[-1])
    floor.level = layers[0]
    seen = at_places(lm, places, inputs, run, "keys after the edit", floor)
    after = {name: pooled(requests, own).double() for name, own in seen.items()}
    return {name: torch.cat([before[name], own]) if name in before else own for name, own in after.items()}, about


def _gain(before: Tensor, after: Tensor) -> Tensor:
    """[D] what the norm behind an MLP multiplies its output by; taken as fixed, which it is for small changes."""
    gain = (after.double() / before.double()).nanmedian(0).values
    return gain.where(gain.abs() > 1e-6, torch.full_like(gain, torch.inf))


@torch.no_grad()
def add(module: Any, step: Tensor) -> None:
    """W ← W + ΔW [d_out, d_in], rounded once.

    Raises:
        CollapseError: it is not finite.
    """
    if not bool(step.isfinite().all()):
        raise CollapseError("the edit is not finite", "raise method.ridge")
    weight = module.weight
    own = step if isinstance(module, torch.nn.Linear) else step.T  # Conv1D keeps [d_in, d_out]
    weight.copy_((weight.double() + own.to(weight.device)).to(weight.dtype))
