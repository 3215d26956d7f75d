"""States of one model put into another: what the answer loses by it.

Δ_l = mean_t [log p_θ0(y_t) − log p_θ0(y_t | h_l ← h_l of the source)]        t over the fact's tokens, at t − 1
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batch import groups
from ..measure.lens import outputs, tensor_of
from ..models.layers import padded
from .inside import Inside
from .texts import Text

_TOKENS = 2048
"""Padded tokens of one forward."""

States = Mapping[str, Tensor]
"""Text id → [layers, fact tokens, D] float32 on the CPU: output of layers at the places before the fact's tokens."""


def fact_states(source: Inside, texts: Sequence[Text], layers: Sequence[int]) -> States:
    """What `layers` (from 1) of `source` pass on at the places that predict the facts."""
    found = {}
    for group, states in source.batches([text.ids for text in texts]):
        for row, number in enumerate(group):
            before = [place - 1 for place in texts[number].fact]
            found[texts[number].id] = states[row][list(layers)][:, before].float().cpu()
    return found


def fact_logp(target: Inside, texts: Sequence[Text]) -> dict[str, float]:
    """Mean log-probability of the fact's tokens, nats, by text id."""
    return _scored(target, texts, None, 0, 0)


def patched_logp(
    target: Inside, texts: Sequence[Text], source: States, layers: Sequence[int]
) -> Iterator[tuple[int, dict[str, float]]]:
    """Layer by layer: `fact_logp` with the layer's output at the places that predict the fact taken from `source`.

    Args:
        target: The model that goes on from the exchanged states.
        texts: Those of `source`.
        source: From `fact_states`.
        layers: Those of `source`, from 1.
    """
    for number, layer in enumerate(layers):
        yield layer, _scored(target, texts, source, number, layer)


def _scored(target: Inside, texts: Sequence[Text], source: States | None, number: int, layer: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for group in groups([len(text.ids) for text in texts], _TOKENS):
        members = [texts[i] for i in group]
        ids = padded([text.ids for text in members], target.pad_id).to(target.device)
        rows = torch.tensor([row for row, text in enumerate(members) for _ in text.fact], device=target.device)
        places = torch.tensor([place for text in members for place in text.fact], device=target.device)
        with contextlib.ExitStack() as stack, torch.inference_mode():
            if source is not None:
                new = torch.cat([source[text.id][number] for text in members]).to(target.device)
                stack.enter_context(patched({target.layers[layer - 1]: (rows, places - 1, new)}))
            seen = stack.enter_context(outputs(target.model))
            target.model.states(input_ids=ids, use_cache=False)
        logp, _ = target.looked_up(seen[-1][rows, places - 1], ids[rows, places])
        parts = logp.split([len(text.fact) for text in members])
        found |= {text.id: float(part.double().mean()) for text, part in zip(members, parts, strict=True)}
    return found


@contextlib.contextmanager
def patched(new: Mapping[nn.Module, tuple[Tensor, Tensor, Tensor]]) -> Iterator[None]:
    """Within, each layer passes on other states at some places.

    Args:
        new: Layer → rows [n], places [n] and the states [n, D] there.
    """

    def exchanged(where: tuple[Tensor, Tensor, Tensor], output: Any) -> Any:
        rows, places, states = where
        changed = tensor_of(output).clone()
        changed[rows, places] = states.to(changed.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    with contextlib.ExitStack() as stack:
        for layer, where in new.items():
            hook = layer.register_forward_hook(lambda _, __, output, where=where: exchanged(where, output))
            stack.callback(hook.remove)
        yield
