"""Sampled continuations: temperature, top-k and top-p, every continuation with random numbers of its own.

The numbers come from seed, run, attempt and prompt alone, and a token is where they fall in the sorted cumulative
probabilities. So neither the other rows of a batch nor their order change a text, two models are asked with common
random numbers, and a model that changed little answers with mostly the same texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..metrics.needs import Sampling
from ..models.lm import LM
from ..naming import derive_seed, digest
from .generations import ROWS, Decoder, Written, first
from .texts import Draw
from .working import resolve_precision, working

VERSION = 1
"""Part of every store key; raise it when the same model and draws would come out as other texts."""


class Sampled(Decoder[Draw]):
    """Sampled continuations; one without a visible character is drawn anew, `sampling.retries` times at most.

    Args:
        lm: Whose tokenizer and template write the prompts. Its model is not touched before `run`.
        draws: What to draw.
        sampling: How.
        limit: Most new tokens.
        max_length: Tokens a prompt may have.
        rows: Continuations decoded together.

    Raises:
        DataError: a prompt cannot be encoded or is longer than `max_length`.
    """

    def __init__(
        self,
        lm: LM,
        draws: Iterable[Draw],
        sampling: Sampling,
        limit: int,
        *,
        max_length: int = 1024,
        rows: int = ROWS,
    ) -> None:
        limits = dict.fromkeys(draws, limit)
        encoded = {prompt: lm.template.encode_prompt(prompt) for prompt in {draw.prompt for draw in limits}}
        ids = {draw: encoded[draw.prompt] for draw in limits}
        super().__init__(lm, ids, limits, max_length=max_length, rows=rows)
        self._sampling, self._limit, self._attempt = sampling, limit, 0
        self._numbers: dict[Draw, NDArray[np.float64]] = {}

    def run(self, precision: str = "auto") -> Iterator[Written[Draw]]:
        """One item per decoding step; every continuation finishes in exactly one.

        Args:
            precision: auto, fp32 or bf16 weights.
        """
        left, retries = list(self._limits), self._sampling.retries
        with working(self._lm, resolve_precision(precision, self._lm.device)) as model:
            for self._attempt in range(retries + 1):
                again: list[Draw] = []
                for step in self._decode_all(model, left):
                    empty = [d for d, ids in step.ids.items() if not first(self._lm, ids, self._limit)]
                    if self._attempt < retries:
                        again += empty
                        yield Written({d: ids for d, ids in step.ids.items() if d not in empty}, step.tokens)
                    else:
                        yield step
                    for draw in step.ids:
                        self._numbers.pop(draw, None)
                left = again
                if not left:
                    return

    def pick(self, logits: Tensor, keys: Sequence[Draw], at: int) -> Tensor:
        """Where the continuation's random number for this token falls."""
        for key in keys if at == 0 else ():
            seed = derive_seed(self._sampling.seed, key.run, self._attempt, digest(key.prompt))
            self._numbers[key] = np.random.default_rng(seed).random(self._limit)
        return choose(logits, torch.tensor([self._numbers[key][at] for key in keys]), self._sampling)


def choose(logits: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
    """[B] tokens drawn from logits [B, V] by numbers [B] that are uniform in [0, 1)."""
    k = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    best, ids = (logits.float() / sampling.temperature).topk(k)
    p = best.cpu().double().softmax(-1)
    p = p.masked_fill(p.cumsum(-1) - p >= sampling.top_p, 0.0)
    reached = p.cumsum(-1)
    at = (reached <= numbers[:, None] * reached[:, -1:]).sum(-1).clamp_max(k - 1)
    return ids.gather(-1, at[:, None].to(ids.device))[:, 0]
