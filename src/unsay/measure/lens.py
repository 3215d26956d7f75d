"""The logit lens: what each layer would answer if the final norm and the head read it directly."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batch import groups
from ..errors import ModelError
from ..metrics.have import LayerStats
from ..models.layers import backbone, decoder_layers, padded
from ..models.lm import LM
from .texts import Ask, encoded
from .token_stats import MICRO_TOKENS
from .vocabulary import vocabulary_stats
from .working import Precision, Working, working

VERSION = 1
"""Part of every store key; raise it when the same model and texts would come out as other numbers."""

_NOTHING = LayerStats(np.zeros(0, np.float32), np.zeros(0, np.int32))


class LensSweep:
    """`LayerStats` of the first answer token of a list of texts, read at the last position of their prompts.

    Args:
        lm: The model.
        asks: What to measure; repeats are measured once.
        skip: Those of them that have been measured before.
        max_length: Tokens of prompt + answer.
        micro_tokens: Tokens (padding included) of one forward.

    Raises:
        DataError: a text cannot be encoded, or its prompt leaves no room for the answer.
    """

    def __init__(
        self,
        lm: LM,
        asks: Sequence[Ask],
        *,
        skip: Collection[Ask] = (),
        max_length: int = 1024,
        micro_tokens: int = MICRO_TOKENS,
    ) -> None:
        self._lm = lm
        self._micro_tokens = micro_tokens
        every = list(dict.fromkeys(asks))
        rows, cut = encoded(lm, every, max_length)
        del cut  # the first answer token is always within the limit
        self.cut: frozenset[Ask] = frozenset()
        self._rows = [
            (a, e.input_ids[: e.answer_start], e.input_ids[e.answer_start])
            for a, e in zip(every, rows, strict=True)
            if a not in skip
        ]
        self.tokens = sum(len(ids) for _, ids, _ in self._rows)

    def run(self, precision: Precision = "fp32") -> Iterator[tuple[dict[Ask, LayerStats], int]]:
        """One batch after the other; entries of no layers where the network cannot be read like this."""
        if not self._rows:
            return
        with working(self._lm, precision) as model:
            norm = final_norm(model)
            if norm is None:
                yield {ask: _NOTHING for ask, _, _ in self._rows}, self.tokens
                return
            for group in groups([len(ids) for _, ids, _ in self._rows], self._micro_tokens):
                yield self._read(model, norm, group)

    @torch.inference_mode()
    def _read(self, model: Working, norm: nn.Module, group: Sequence[int]) -> tuple[dict[Ask, LayerStats], int]:
        rows, device = [self._rows[i] for i in group], self._lm.device
        lengths = torch.tensor([len(ids) for _, ids, _ in rows])
        ids = padded([ids for _, ids, _ in rows], self._lm.template.pad_id).to(device)
        # Padding on the right only, where causal attention needs no mask.
        with outputs(model) as seen:
            model.states(input_ids=ids, use_cache=False)
        at = (torch.arange(len(rows), device=device), (lengths - 1).to(device))
        hidden = torch.stack([states[at] for states in seen], 1)  # [B, L, D]
        depth = hidden.shape[1]
        first = torch.tensor([token for _, _, token in rows], device=device)
        found = vocabulary_stats(
            norm(hidden).flatten(0, 1),
            model.logits,
            torch.arange(len(rows) * depth, device=device),
            first.repeat_interleave(depth),
        )
        logp, rank = found.logp.view(-1, depth).numpy(), found.rank.view(-1, depth).numpy()
        return {ask: LayerStats(logp[i], rank[i]) for i, (ask, _, _) in enumerate(rows)}, int(lengths.sum())


@contextlib.contextmanager
def outputs(model: Working) -> Iterator[list[Tensor]]:
    """A list that a forward fills with the output [B, T, D] of every decoder layer, first to last."""
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda m, a, out: seen.append(tensor_of(out))) for layer in layers_of(model)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def final_norm(model: Working) -> nn.Module | None:
    """The part of the backbone between the last layer and the head, known by its input and output; None: no such part.

    Names differ between families, and a wrong norm would give plausible nonsense.
    """
    if not model.plain or not layers_of(model):
        return None
    calls: list[tuple[nn.Module, Any, Any]] = []
    layers = list(layers_of(model))
    children = [m for m in backbone(model.model).children() if not isinstance(m, nn.ModuleList)]
    hooks = [m.register_forward_hook(lambda m, a, out: calls.append((m, a, out))) for m in children]
    hooks.append(layers[-1].register_forward_hook(lambda m, a, out: calls.append((m, a, out))))
    rows = model.model.get_input_embeddings().weight
    try:
        last = model.states(input_ids=torch.arange(min(4, len(rows)), device=rows.device)[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    into = next((tensor_of(out) for m, _, out in calls if m is layers[-1]), None)
    for module, args, out in calls:
        if module is layers[-1] or into is None or not args:
            continue
        if _same(args[0], into) and _same(tensor_of(out), last):
            return module
    return None


def layers_of(model: Working) -> Sequence[nn.Module]:
    """The decoder layers, first to last; none where the network does not show them."""
    try:
        return list(decoder_layers(model.model))
    except (ModelError, AttributeError):
        return ()


def tensor_of(out: Any) -> Tensor:
    """What a layer passes on: some return it alone, some in front of other things."""
    found: Tensor = out[0] if isinstance(out, (tuple, list)) else out
    return found


def _same(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and torch.equal(a, b)
