"""Which rows are about the same thing: nearest neighbours by a sentence encoder, or by n-grams of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data.example import Example
from ..errors import ModelError

_BATCH = 32


def nearest(rows: Sequence[Example], others: Sequence[Example], encoder: str = "") -> list[int]:
    """For each of `rows` the number of the most similar of `others`, by the cosine of prompt and answer together.

    Args:
        rows: At least one.
        others: At least one.
        encoder: Folder or hub id of a sentence encoder (mean of its last hidden states); empty uses tf-idf of
            character trigrams within words, which needs no model.

    Raises:
        ModelError: the encoder cannot be loaded.
    """
    texts = [f"{row.question} {row.answer}" for row in (*rows, *others)]
    vectors = _encode(texts, encoder) if encoder else _trigrams(texts)
    likeness = vectors[: len(rows)] @ vectors[len(rows) :].T
    return [int(i) for i in likeness.argmax(1)]


def _trigrams(texts: Sequence[str]) -> Any:
    """[texts, trigrams] sparse rows of length 1: counts weighed by ln(texts / texts that have the trigram) + 1."""
    counts = [_pieces(text) for text in texts]
    names = {piece: i for i, piece in enumerate(sorted(set().union(*counts)))}
    entries = [(n, names[piece], count) for n, row in enumerate(counts) for piece, count in row.items()]
    at, column, value = (np.array(part) for part in zip(*entries, strict=True))
    table = sparse.csr_array((value.astype(np.float64), (at, column)), shape=(len(texts), len(names)))
    spread = np.bincount(column, minlength=len(names))
    table = table @ sparse.diags_array(np.log(len(texts) / spread) + 1)
    length = np.sqrt(table.multiply(table).sum(1))
    return sparse.csr_array(sparse.diags_array(1 / np.asarray(length).ravel()) @ table)


def _pieces(text: str) -> Counter[str]:
    words = (f" {word} " for word in text.lower().split())
    return Counter(word[i : i + 3] for word in words for i in range(len(word) - 2))


def _encode(texts: Sequence[str], encoder: str) -> NDArray[np.float32]:
    """[texts, D] rows of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        model = AutoModel.from_pretrained(encoder).eval()
    except (OSError, ValueError) as error:
        raise ModelError(f"{encoder} is no sentence encoder: {str(error).splitlines()[0][:200]}") from None
    parts = []
    for start in range(0, len(texts), _BATCH):
        inputs = tokenizer(list(texts[start : start + _BATCH]), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state  # [B, T, D]
        mask = inputs["attention_mask"][..., None]
        parts.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).numpy())
    return np.concatenate(parts)
