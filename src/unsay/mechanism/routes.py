"""Information-flow routes: which states, through which layers, a next-token prediction is made of.

Every state is a sum y = Σ_k z_k, and a part counts by how much nearer it brings the sum:

    c_k ∝ max(‖y‖₁ − ‖y − z_k‖₁, 1e−5),   Σ_k c_k = 1
    attention   y = residual after it; z: a^h_ij v^h_j W_O^h for every head h and place j, and the residual before it
    MLP         y = residual after it; z: what the MLP adds, and the residual before it

An edge j → i through attention weighs Σ_h c. Kept are edges above τ that lead, backwards, from the last layer's state
at the last place.

Paper    Ferrando, Voita (2024). Information Flow Routes: Automatically Interpreting Language Models at Scale.
         arXiv:2403.00824; as the LM Transparency Tool draws them (Tufanov et al. 2024, arXiv:2404.07004), which ReLearn
         (arXiv:2502.11190, figure 11) uses at τ = 0.06 and 0.08.
Limits   A large part need not matter to the prediction: `attribution` asks that. In families that run attention and MLP
         side by side the MLP reads the state before attention; the routes are drawn as if it came after.
Differs  The bias of W_O is one more part without an edge. A norm between a part and the residual stream is applied to
         each part with the factors it had for their sum.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from ..errors import ModelError
from ..measure.lens import tensor_of
from .blocks import Block, blocks_of
from .inside import Inside, first_input

_NAME = "unsay_watched"
_LEAST = 1e-5
_EXACT = 1e-3
"""Largest gap between a state and the sum of its parts, relative to its largest number."""


@dataclass(frozen=True)
class Flow:
    """The shares c of one prompt of T tokens in L layers."""

    attention: Tensor
    """[L, T, T] from place j (last) to place i: over all heads; 0 for j > i."""
    passed: Tensor
    """[L, T] the residual around attention."""
    mlp: Tensor
    """[L, T] what the MLP adds; the residual around it has the rest."""


@dataclass(frozen=True)
class Routes:
    """The edges above τ that the last place's prediction hangs on."""

    attention: tuple[tuple[int, int, int, float], ...]
    """Layer (from 1), from place, to place, weight."""
    mlps: int
    """MLP blocks on the way."""
    passed: int
    """Residual edges."""
    sources: tuple[int, ...]
    """Places of the prompt whose embeddings are reached."""

    @property
    def edges(self) -> int:
        """All of them."""
        return len(self.attention) + self.mlps + self.passed


@torch.no_grad()
def flow(inside: Inside, ids: Sequence[int]) -> Flow:
    """The shares of every part of every state.

    Raises:
        ModelError: a layer's parts do not add up to its output: another kind of layer than these routes know.
    """
    blocks = blocks_of(inside)
    with watched(inside, blocks) as seen:
        inside.model.states(input_ids=torch.tensor([list(ids)], device=inside.device), use_cache=False)
    attention, passed, mlp = [], [], []
    state = seen.entered[0][0]
    gap = 0.0
    for block, heard, said, added in zip(blocks, seen.heads, seen.attention, seen.mlps, strict=True):
        middle = state + said.added
        after = middle + added.added
        one, around = _attended(block, heard, said, state, middle)
        gap = max(gap, _gap(_from_heads(block, heard) * said.factor, said.added))
        attention.append(one)
        passed.append(around)
        mlp.append(_shares(torch.stack([added.added, middle]), after)[0])
        state = after
    if max(gap, _gap(state, seen.left[0][0])) > _EXACT:
        raise ModelError(
            f"the parts of {type(blocks[0].layer).__name__} do not add up to what it passes on (or its heads do not)",
            "'unsay probe lens' and 'unsay probe topk' need less",
        )
    return Flow(torch.stack(attention).cpu(), torch.stack(passed).cpu(), torch.stack(mlp).cpu())


def routes(found: Flow, tau: float) -> Routes:
    """The edges above `tau` between the embeddings and the last place's state after the last layer."""
    depth, size = found.passed.shape
    reached = {size - 1}
    attention: list[tuple[int, int, int, float]] = []
    mlps = passed = 0
    for layer in range(depth - 1, -1, -1):
        middle = set()
        for i in sorted(reached):  # from the state after the MLP to the one before it
            share = float(found.mlp[layer, i])
            mlps += share > tau
            passed += 1 - share > tau
            if share > tau or 1 - share > tau:
                middle.add(i)
        reached = set()
        for i in sorted(middle):
            if float(found.passed[layer, i]) > tau:
                passed += 1
                reached.add(i)
            for j in range(i + 1):
                weight = float(found.attention[layer, i, j])
                if weight > tau:
                    attention.append((layer + 1, j, i, weight))
                    reached.add(j)
    return Routes(tuple(attention), mlps, passed, tuple(sorted(reached)))


def _from_heads(block: Block, heard: Heads) -> Tensor:
    """[T, D] what attention passes on, added up from its heads."""
    found = torch.einsum("hij,hjd,hdo->io", heard.weights, heard.values, block.maps())
    return found if block.bias is None else found + block.bias


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-9))


def _shares(parts: Tensor, whole: Tensor) -> Tensor:
    """[n, …] share of each part [n, …, D] in the sum [..., D]."""
    near = (whole.abs().sum(-1) - (whole - parts).abs().sum(-1)).clamp(min=_LEAST)
    return near / near.sum(0)


def _attended(block: Block, heard: Heads, said: Added, state: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """[T, T] shares of the places in what attention adds, and [T] that of the residual around it."""
    size = len(state)
    values = torch.einsum("hjd,hdo->hjo", heard.values, block.maps())
    shares, around = state.new_zeros(size, size), state.new_zeros(size)
    for i in range(size):
        parts = heard.weights[:, i, : i + 1, None] * values[:, : i + 1] * said.factor[i]
        rest = [state[i]] if block.bias is None else [state[i], block.bias * said.factor[i]]
        found = _shares(torch.cat([parts.flatten(0, 1), torch.stack(rest)]), middle[i])
        shares[i, : i + 1] = found[: -len(rest)].view(-1, i + 1).sum(0)
        around[i] = found[-len(rest)]
    return shares, around


@dataclass(frozen=True)
class Heads:
    """What one attention block looked at."""

    weights: Tensor
    """[H, T, T] where each place looks."""
    values: Tensor
    """[H, T, d]."""


@dataclass(frozen=True)
class Added:
    """What a block adds to the residual stream."""

    added: Tensor
    """[T, D]"""
    factor: Tensor
    """[T, D] by which a norm behind the block multiplied it; ones where there is none."""


@dataclass(frozen=True)
class Seen:
    """What one forward of one prompt leaves behind, layer by layer."""

    heads: list[Heads]
    attention: list[Added]
    mlps: list[Added]
    entered: list[Tensor]
    """[1, T, D] the first layer's input."""
    left: list[Tensor]
    """[1, T, D] the last layer's output."""


_WATCHING: contextvars.ContextVar[list[Heads]] = contextvars.ContextVar("watching")


def _attention(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **more: Any) -> Any:
    """The family's own attention, written down."""
    eager = sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[attr-defined]
    out, weights = eager(module, query, key, value, mask, **more)
    every = value.repeat_interleave(query.shape[1] // value.shape[1], 1)
    _WATCHING.get().append(Heads(weights[0].float(), every[0].float()))
    return out, weights


@contextlib.contextmanager
def watched(inside: Inside, blocks: Sequence[Block]) -> Iterator[Seen]:
    """Within, one forward of one prompt fills what is yielded."""
    model = inside.model.model
    before = model.config._attn_implementation
    heads: list[Heads] = []
    attention: list[Added] = []
    mlps: list[Added] = []
    left: list[Tensor] = []

    def keep(where: list[Added], module: nn.Module, norm: nn.Module | None, stack: contextlib.ExitStack) -> None:
        raw: list[Tensor] = []

        def of_block(_: Any, __: Any, out: Any) -> None:
            raw[:] = [tensor_of(out)[0].float()]
            if norm is None:
                where.append(Added(raw[0], torch.ones_like(raw[0])))

        def of_norm(_: Any, __: Any, out: Any) -> None:
            added = tensor_of(out)[0].float()
            where.append(Added(added, torch.where(raw[0] == 0, 0, added / raw[0])))

        stack.callback(module.register_forward_hook(of_block).remove)
        if norm is not None:
            stack.callback(norm.register_forward_hook(of_norm).remove)

    with contextlib.ExitStack() as stack:
        stack.callback(_WATCHING.reset, _WATCHING.set(heads))
        model.set_attn_implementation(_NAME)
        stack.callback(model.set_attn_implementation, before)
        for block in blocks:
            keep(attention, block.attention, block.after_attention, stack)
            keep(mlps, block.mlp, block.after_mlp, stack)
        last = blocks[-1].layer.register_forward_hook(lambda _, __, out: left.append(tensor_of(out)))
        stack.callback(last.remove)
        entered = stack.enter_context(first_input(blocks[0].layer))
        yield Seen(heads, attention, mlps, entered, left)


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, eager_mask)
