"""The tokens that all texts of a sweep begin with (a system prompt, a jailbreak's story), read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from .working import Working

_WORTH = 0.1
"""Share of the work that reading it once must save."""


class Prefix:
    """Keys and values of the first tokens, to be continued by any number of rows.

    Args:
        model: Under measurement; whether it continues from keys and values is the caller's to know.
        ids: The tokens, at least one.
    """

    def __init__(self, model: Working, ids: Sequence[int]) -> None:
        self.ids = tuple(int(i) for i in ids)
        self._model = model
        self._kept: Any = model.cache()
        device = model.model.get_input_embeddings().weight.device
        model.states(input_ids=torch.tensor([self.ids], device=device), past_key_values=self._kept, use_cache=True)

    def __len__(self) -> int:
        return len(self.ids)

    @torch.inference_mode()
    def cache(self, rows: int) -> Any:
        """For one forward of so many rows; this prefix stays as it is."""
        found = self._model.cache()
        for number, layer in enumerate(self._kept.layers):
            found.update(*(each.expand(rows, -1, -1, -1) for each in (layer.keys, layer.values)), number)
        return found


def plain_cache(model: Working) -> bool:
    """Whether the cache is keys and values, one pair a layer."""
    return type(model.cache()) is DynamicCache


def common(sequences: Sequence[tuple[NDArray[np.int64], int]]) -> tuple[int, ...]:
    """What all sequences begin with and what is worth reading once: () where it would save less than a tenth.

    Args:
        sequences: (tokens, how many of the first may be shared), one for each text or tree of texts.
    """
    if len(sequences) < 2:
        return ()
    first, most = sequences[0]
    found = first[:most]
    for ids, most in sequences[1:]:
        other = ids[: min(most, len(found))]
        apart = np.flatnonzero(found[: len(other)] != other)
        found = found[: apart[0] if len(apart) else len(other)]
    saved = len(found) * (len(sequences) - 1)
    return tuple(found.tolist()) if saved >= _WORTH * sum(len(ids) for ids, _ in sequences) else ()


def hides(sees: NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> Tensor:
    """[B, 1, T, S] the additive mask of what each of T positions sees among S."""
    hidden = torch.from_numpy(~sees).to(device)[:, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, torch.finfo(dtype).min)
