"""Texts whose ends change from step to step: what stands before runs once, and its keys and values are kept."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache

from ..models.layers import backbone, padded

if TYPE_CHECKING:
    pass

_TAKES: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Start:
    """The first tokens of a text, which have run."""

    length: int
    past: tuple[tuple[Tensor, Tensor], ...] = ()
    """Keys and values of each layer, [heads, length, width] each."""


NOTHING = Start(0)


def starts(
    model: Any, texts: Sequence[Sequence[int]], lengths: Sequence[int], pad_id: int
) -> tuple[list[Start], Tensor]:
    """The first `lengths` tokens of `texts`, for `inputs`; one forward over whole texts, so that hooks see all of them.

    Returns:
        The starts, nothing but `NOTHING` where the family does not take up a text in its middle; and [B, T, D], what
        the head reads of the whole texts.
    """
    keeps = takes_starts(model)
    cache = DynamicCache() if keeps else None
    ids = padded(texts, pad_id).to(model.get_input_embeddings().weight.device)
    with torch.no_grad():
        hidden = backbone(model)(input_ids=ids, past_key_values=cache, use_cache=keeps).last_hidden_state
    if cache is None:
        return [NOTHING] * len(texts), hidden
    return [_start(cache, b, length) for b, length in enumerate(lengths)], hidden


def inputs(begun: Sequence[Start], ids: Tensor) -> dict[str, Any]:
    """What a backbone or a whole network is called with to go on from `begun` with `ids` [B, T], padded on the right.

    For one call: the network adds to the cache.
    """
    width = max(start.length for start in begun)
    if not width:
        return {"input_ids": ids, "use_cache": False}
    cache = DynamicCache()
    for layer, both in enumerate(zip(*(start.past for start in begun), strict=True)):
        keys, values = (
            torch.stack([pad(one[side], (0, 0, width - one[side].shape[1], 0)) for one in both]) for side in (0, 1)
        )
        cache.update(keys, values, layer)
    lengths = torch.tensor([start.length for start in begun], device=ids.device)[:, None]
    before = torch.arange(width, device=ids.device) >= width - lengths
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([before, torch.ones_like(ids, dtype=torch.bool)], 1).long(),
        "position_ids": lengths + torch.arange(ids.shape[1], device=ids.device),
        "past_key_values": cache,
        "use_cache": True,
    }


def takes_starts(model: Any) -> bool:
    """Whether a text that is taken up in its middle gives what it gives as a whole; tried once per network."""
    if model not in _TAKES:
        _TAKES[model] = True  # for the try itself
        _TAKES[model] = _agrees(model)
    return _TAKES[model]


@torch.no_grad()
def _agrees(model: Any) -> bool:
    table = model.get_input_embeddings().weight
    texts = [[(5 + 3 * i) % len(table) for i in range(length)] for length in (8, 6)]
    cuts = (5, 2)
    tolerance = 1e-3 if table.dtype == torch.float32 else 5e-2
    try:
        whole = backbone(model)(input_ids=padded(texts, 0).to(table.device), use_cache=False).last_hidden_state
        begun, _ = starts(model, texts, cuts, 0)
        ends = padded([text[cut:] for text, cut in zip(texts, cuts, strict=True)], 0).to(table.device)
        found = backbone(model)(**inputs(begun, ends)).last_hidden_state
    except Exception:  # whatever a family's code makes of a cache that it does not expect
        return False
    return all(
        bool((found[b, : len(text) - cut] - own).norm() <= tolerance * own.norm())
        for b, (text, cut) in enumerate(zip(texts, cuts, strict=True))
        for own in [whole[b, cut : len(text)]]
    )


def _start(cache: Any, row: int, length: int) -> Start:
    return Start(
        length, tuple((o.keys[row, :, :length].clone(), o.values[row, :, :length].clone()) for o in cache.layers)
    )
