"""Which heads and MLPs the answer needs: their gates, by gradient or turned off one by one.

    g_{l,h} multiplies what head h of layer l adds, g_{l,mlp} what the MLP adds; all are 1
    exact      E = log p(fact | g = 1) − log p(fact | g_part = 0)
    gradient   E ≈ ∂ log p(fact) / ∂ g_part at g = 1, one backward pass for all parts (gradient × activation)

Attribution patching with a zero baseline: Nanda 2023; Syed, Rager, Conmy 2023, arXiv:2310.10348. Zero is not what a
head says when it has nothing to say, and parts stand in for each other: small effects of single parts do not add up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.layers import backbone, logits_of
from .blocks import Block, blocks_of, split_heads
from .inside import Inside
from .texts import Text

_TOKENS = 2048
"""Tokens of one forward, copies of the same text."""


def gradients(inside: Inside, text: Text) -> tuple[float, Tensor]:
    """Mean log-probability of the fact's tokens (nats), and its derivative by every gate [layers, heads + 1], MLP last.

    Raises:
        ModelError: see `blocks.blocks_of`.
    """
    blocks = blocks_of(inside)
    gates = torch.ones(1, len(blocks), blocks[0].heads + 1, device=inside.device, requires_grad=True)
    with torch.enable_grad():
        logp = _logp(inside, blocks, text, gates)
        (found,) = torch.autograd.grad(logp.sum(), gates)
    return float(logp[0].detach()), found[0].detach().float().cpu()


def ablated(inside: Inside, text: Text, parts: Sequence[tuple[int, int]]) -> list[float]:
    """What the fact's mean log-probability loses when a part (layer from 0, head; the MLP is the last) is turned off.

    Raises:
        ModelError: see `blocks.blocks_of`.
    """
    blocks = blocks_of(inside)
    lost: list[float] = []
    at_once = max(1, _TOKENS // len(text.ids))
    with torch.no_grad():
        full = float(_logp(inside, blocks, text, torch.ones(1, len(blocks), blocks[0].heads + 1))[0])
        for first in range(0, len(parts), at_once):
            chosen = parts[first : first + at_once]
            gates = torch.ones(len(chosen), len(blocks), blocks[0].heads + 1)
            for row, (layer, part) in enumerate(chosen):
                gates[row, layer, part] = 0
            lost += (full - _logp(inside, blocks, text, gates)).tolist()
    return lost


def _logp(inside: Inside, blocks: Sequence[Block], text: Text, gates: Tensor) -> Tensor:
    """[B] mean log-probability of the fact's tokens under each of B settings of the gates [B, layers, heads + 1]."""
    ids = torch.tensor([text.ids], device=inside.device).expand(len(gates), -1)
    places = torch.tensor(text.fact, device=inside.device)
    with gated(blocks, gates.to(inside.device)):
        states = backbone(inside.model.model)(input_ids=ids, use_cache=False).last_hidden_state
    logits = logits_of(inside.model.model, states[:, places - 1])
    return logits.float().log_softmax(-1)[:, torch.arange(len(places)), ids[0, places]].mean(1)


@contextlib.contextmanager
def gated(blocks: Sequence[Block], gates: Tensor) -> Iterator[None]:
    """Within, parts are multiplied with their gates [B, layers, heads + 1], B the rows of the batch."""

    def heads(layer: int) -> Any:
        own = gates[:, layer, :-1, None]
        return lambda _, args: ((split_heads(args[0], blocks[layer].heads) * own[:, None]).flatten(-2), *args[1:])

    def mlp(layer: int) -> Any:
        own = gates[:, layer, -1, None, None]
        return lambda _, __, out: (out[0] * own, *out[1:]) if isinstance(out, tuple) else out * own

    with contextlib.ExitStack() as stack:
        for number, block in enumerate(blocks):
            stack.callback(block.out.register_forward_pre_hook(heads(number)).remove)
            stack.callback(block.mlp.register_forward_hook(mlp(number)).remove)
        yield
