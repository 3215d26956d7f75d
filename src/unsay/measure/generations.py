"""Continuations in batches: prompts of similar length together, finished rows dropped as they finish.

A step reads all weights whatever the number of rows, so rows are many. Greedy here; `sampled.py` draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..data.example import Prompt
from ..errors import DataError
from ..models.lm import LM
from .texts import Draw
from .working import Working, resolve_precision, working

VERSION = 1
"""Part of every store key; raise it when the same model and prompts would come out as other texts."""

ROWS = 64
Key = TypeVar("Key", Prompt, Draw)
"""What names one continuation: its prompt, or one of several draws for it."""


@dataclass(frozen=True)
class Written(Generic[Key]):
    """What one decoding step finished."""

    ids: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    """New tokens of the continuations that are done, end token excluded."""
    tokens: int = 0
    """Tokens that went through the model in this step."""


class Decoder(Generic[Key]):
    """Continuations of a list of prompts; how the next token is chosen is left to `pick`.

    Args:
        lm: Whose template wrote the prompts. Its model is not touched before `run`.
        ids: Key → tokens of its prompt.
        limits: Key → most new tokens.
        max_length: Tokens a prompt may have.
        rows: Continuations decoded together.

    Raises:
        DataError: a prompt is longer than `max_length`.
    """

    def __init__(
        self, lm: LM, ids: Mapping[Key, list[int]], limits: Mapping[Key, int], *, max_length: int, rows: int
    ) -> None:
        self._lm, self._rows = lm, rows
        self._ids: dict[Key, list[int]] = dict(ids)
        self._limits: dict[Key, int] = dict(limits)
        long = sum(len(ids) > max_length for ids in self._ids.values())
        if long:
            raise DataError(
                f"{long} of {len(self._ids)} prompts are longer than {max_length} tokens",
                "shorten them or raise data.max_length",
            )

    @property
    def prompts(self) -> int:
        """How many continuations there are."""
        return len(self._limits)

    def pick(self, logits: Tensor, keys: Sequence[Key], at: int) -> Tensor:
        """[B] the new token number `at` (from 0) of the continuations `keys`, given its logits [B, V]."""
        raise NotImplementedError

    def run(self, precision: str = "auto") -> Iterator[Written[Key]]:
        """One item per decoding step; every continuation finishes in exactly one.

        Args:
            precision: auto, fp32 or bf16 weights.
        """
        with working(self._lm, resolve_precision(precision, self._lm.device)) as model:
            yield from self._decode_all(model, list(self._limits))

    def _decode_all(self, model: Working, keys: list[Key]) -> Iterator[Written[Key]]:
        # Longest first: memory that does not suffice shows at once.
        order = sorted(keys, key=lambda p: (-len(self._ids[p]), -self._limits[p]))
        for start in range(0, len(order), self._rows):
            yield from self._decode(model, order[start : start + self._rows])

    def _decode(self, model: Working, prompts: list[Key]) -> Iterator[Written[Key]]:
        template, device = self._lm.template, self._lm.device
        lengths = [len(self._ids[p]) for p in prompts]
        limits = np.array([self._limits[p] for p in prompts])
        width, most = max(lengths), int(limits.max())
        padded = [[template.pad_id] * (width - n) + self._ids[p] for p, n in zip(prompts, lengths, strict=True)]
        step_ids = torch.tensor(padded, device=device)
        positions = torch.arange(width, device=device) - (width - torch.tensor(lengths, device=device))[:, None]
        sees = torch.cat([positions >= 0, positions.new_ones(len(prompts), most, dtype=torch.bool)], 1).long()
        positions = positions.clamp_min(0)
        cache = model.cache()
        alive = np.arange(len(prompts))
        new: list[list[int]] = [[] for _ in prompts]
        for count in range(1, most + 1):
            states = model.states(
                input_ids=step_ids,
                attention_mask=sees[:, : width + count - 1],
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            chosen = self.pick(model.logits(states[:, -1]), [prompts[i] for i in alive], count - 1)
            ended = np.zeros(len(alive), bool)
            for row, token in enumerate(chosen.tolist()):
                if token in template.end_ids:
                    ended[row] = True
                else:
                    new[alive[row]].append(token)
            ended |= limits[alive] <= count
            yield Written({prompts[i]: tuple(new[i]) for i in alive[ended]}, step_ids.numel())
            if ended.all():
                return
            step_ids, positions = chosen[:, None], positions[:, -1:] + 1
            if ended.any():
                kept = torch.from_numpy(np.flatnonzero(~ended)).to(device)
                cache.batch_select_indices(kept)
                step_ids, positions, sees, alive = step_ids[kept], positions[kept], sees[kept], alive[~ended]


class Greedy(Decoder[Prompt]):
    """Greedy continuations of a list of prompts.

    Args:
        lm: Whose tokenizer and template write the prompts. Its model is not touched before `run`.
        limits: Prompt → most new tokens. A shorter continuation is the beginning of a longer one (`first`), so a prompt
            that is asked twice is continued once.
        max_length: Tokens a prompt may have.
        rows: Prompts decoded together.

    Raises:
        DataError: a prompt cannot be encoded or is longer than `max_length`.
    """

    def __init__(self, lm: LM, limits: Mapping[Prompt, int], *, max_length: int = 1024, rows: int = ROWS) -> None:
        ids = {prompt: lm.template.encode_prompt(prompt) for prompt in limits}
        super().__init__(lm, ids, limits, max_length=max_length, rows=rows)

    def pick(self, logits: Tensor, keys: Sequence[Prompt], at: int) -> Tensor:
        """The likeliest."""
        return logits.argmax(-1)


def first(lm: LM, ids: tuple[int, ...], limit: int) -> str:
    """The text of the first `limit` tokens of a continuation."""
    return str(lm.tokenizer.decode(list(ids[:limit]), skip_special_tokens=True)).strip()


def generate(
    lm: LM, prompts: Mapping[Prompt, int], *, precision: str = "auto", max_length: int = 1024, rows: int = ROWS
) -> dict[Prompt, str]:
    """`Greedy` from end to end, without a store: prompt → text of at most so many new tokens."""
    found: dict[Prompt, str] = {}
    for step in Greedy(lm, prompts, max_length=max_length, rows=rows).run(precision):
        found |= {p: first(lm, ids, prompts[p]) for p, ids in step.ids.items()}
    return found
