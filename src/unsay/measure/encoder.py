"""Sentence embeddings: the mean of an encoder's last hidden states over the tokens, brought to length 1."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..models.quiet import quiet

_ROWS = 64
_TOKENS = 256


def vectors(folder: Path, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """[D] float32 vectors by text, batch by batch, longest first; every text appears once.

    Raises:
        ModelError: the folder holds no encoder with a tokenizer, or one that pools otherwise.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    _refuse_other_pooling(folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    except Exception as error:  # a damaged file, a missing tokenizer library: every layer below has its own classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded as a sentence encoder: {reason}") from error
    order = sorted(set(texts), key=lambda text: (-len(text), text))
    for start in range(0, len(order), _ROWS):
        batch = order[start : start + _ROWS]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state  # [B, T, D]
        mask = inputs["attention_mask"][..., None]
        mean = (states * mask).sum(1) / mask.sum(1)
        yield dict(zip(batch, torch.nn.functional.normalize(mean, dim=-1).numpy(), strict=True))


def _refuse_other_pooling(folder: Path) -> None:
    """What sentence-transformers wrote beside the model says how its tokens become one vector."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return
    said = json.loads(file.read_text(encoding="utf-8"))
    modes = [key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on]
    mode = said.get("pooling_mode") or "+".join(modes) or "mean"
    if mode not in ("mean", "mean_tokens"):
        raise ModelError(f"{folder.name} pools its tokens by {mode}, expected the mean", "give an encoder that does")
