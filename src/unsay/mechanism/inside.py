"""A network opened for reading: what every decoder layer passes on, and what the head makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batch import groups
from ..errors import ModelError
from ..measure.lens import final_norm, layers_of, outputs
from ..measure.vocabulary import vocabulary_stats
from ..measure.working import Working, working
from ..models.layers import padded
from ..models.lm import LM

_TOKENS = 2048
"""Padded tokens of one forward; the states of all layers are kept for them."""


@dataclass(frozen=True)
class Inside:
    """A model whose layers, final norm and head can be read one by one."""

    model: Working
    norm: nn.Module
    """Between the last layer and the head."""
    layers: tuple[nn.Module, ...]
    """Decoder layers, first to last."""
    pad_id: int

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V] what the final norm and the head make of residual states [..., D] of any layer."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        return self.model.logits(self.norm(flat)).view(*hidden.shape[:-1], -1)

    def looked_up(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability (nats) and rank (0 is the likeliest) of a token [n] under each residual state [n, D]."""
        if not len(tokens):
            return torch.zeros(0), torch.zeros(0, dtype=torch.int32)
        every = torch.arange(len(hidden), device=hidden.device)
        with torch.inference_mode():
            found = vocabulary_stats(self.norm(hidden), self.model.logits, every, tokens.to(hidden.device))
        return found.logp, found.rank

    @torch.inference_mode()
    def batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Which sequences (their numbers), and their states [B, 1 + layers, T, D]: row 0 is the first layer's input,
        row l the output of layer l, the last the input of the final norm. What lies behind a sequence's end is noise.
        """
        for group in groups([len(ids) for ids in sequences], _TOKENS):
            ids = padded([sequences[i] for i in group], self.pad_id).to(self.device)
            with first_input(self.layers[0]) as entered, outputs(self.model) as seen:
                self.model.states(input_ids=ids, use_cache=False)
            yield group, torch.stack([*entered, *seen], 1)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.model.parameters()).device


@contextlib.contextmanager
def opened(lm: LM) -> Iterator[Inside]:
    """`lm` in float32 and evaluation mode, adapter merged. `lm` itself stays as it was.

    Raises:
        ModelError: its layers, final norm or head cannot be told apart.
    """
    with working(lm, "fp32") as model:
        norm = final_norm(model)
        if norm is None:
            raise ModelError(
                f"{lm.origin} cannot be opened: no list of decoder layers with one final norm between it and the head",
                "give a decoder-only model without a logit offset",
            )
        yield Inside(model, norm, tuple(layers_of(model)), lm.template.pad_id)


@contextlib.contextmanager
def first_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """A list that a forward fills with the states [B, T, D] that enter `layer`."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        seen.append(args[0] if args else named["hidden_states"])

    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()
