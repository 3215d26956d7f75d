"""Content hashes of weights and tokenizers. Nothing is cached: weights change in place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from ..naming import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest over names, dtypes, shapes and bytes, whatever their order. Tied tensors are read once."""
    distinct = {_place(tensor): tensor for tensor in tensors.values()}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashlib lets go of the interpreter lock
        done = dict(zip(distinct, pool.map(_bytes_digest, distinct.values()), strict=True))
    return digest([[name, str(t.dtype), list(t.shape), done[_place(t)]] for name, t in sorted(tensors.items())])


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hex digest of everything in a fast tokenizer's tokenizer.json that decides ids."""
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("padding", "truncation"):  # left behind by the last call, and no part of what a text means
        settings.pop(state, None)
    return digest(settings)


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _bytes_digest(tensor: torch.Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    # SHA-256 rather than BLAKE2: processors have instructions for it, and 540 MB take a third of a second.
    return hashlib.sha256(raw.data).hexdigest()
