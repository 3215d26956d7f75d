"""A language model whose next character a function decides: the outcome of an attack on it is known by construction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import torch
from torch import nn

from unsay.models.lm import LM
from unsay.testing import tiny_lm

Say = Callable[[str, str], Mapping[str, float]]
"""(prompt, answer so far) → probability of each next token by its text; "" is the end of the answer."""


def writes(text: str) -> Callable[[str], Mapping[str, float]]:
    """Answer so far → the next character of `text`; off its path the answer ends."""

    def next_of(so_far: str) -> Mapping[str, float]:
        rest = text.removeprefix(so_far) if text.startswith(so_far) else ""
        return {rest[:1]: 1.0}

    return next_of


class _Seen:
    """What was read so far: the cache of a scripted model."""

    ids: torch.Tensor | None = None

    def batch_select_indices(self, rows):
        self.ids = self.ids[rows]


class Scripted(nn.Module):
    """Logits log p of what `say` says; the weights of the tiny model are there to be counted and hashed."""

    def __init__(self, lm: LM, say: Say):
        super().__init__()
        self.inner, self.say, self.config = lm.model, say, lm.model.config
        vocabulary = lm.tokenizer.get_vocab()
        self.texts = {i: lm.tokenizer.decode([i]) for i in vocabulary.values()}
        self.ids = {text: i for i, text in self.texts.items()} | {"": vocabulary["<|end|>"]}

    def forward(self, input_ids, past_key_values=None, **_):
        ids, new = input_ids, input_ids.shape[1]
        if past_key_values is not None:
            past_key_values.ids = ids if past_key_values.ids is None else torch.cat([past_key_values.ids, ids], 1)
            ids = past_key_values.ids
        logits = torch.full((*input_ids.shape, len(self.texts)), -30.0)
        for b, row in enumerate(ids.tolist()):
            words = [self.texts[i].replace("<|pad|>", "") for i in row]
            for t in range(new):
                prompt, mark, answer = "".join(words[: len(row) - new + t + 1]).rpartition("<|start|>assistant\n")
                if mark and "<|" not in answer.replace("<|unk|>", ""):
                    for text, p in self.say(prompt, answer).items():
                        logits[b, t, self.ids[text]] = math.log(p)
        return SimpleNamespace(logits=logits, past_key_values=past_key_values)

    def new_cache(self):
        return _Seen()

    @property
    def base_model(self):
        return self

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()


def scripted(say: Say) -> LM:
    """A scripted model with the tokenizer of `tiny_lm`: one token a character."""
    lm = tiny_lm()
    return dataclasses.replace(lm, model=Scripted(lm, say).eval())
