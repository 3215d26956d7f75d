"""A network whose logits are changed as a decoder changes them: z'(v) = −10⁴ for banned v, else z(v) / T.

It is called like any causal LM of transformers, and so scored and sampled like one. Where the network's head is plain
(`layers.head_is_plain`) this one's is, too, so that the head still runs on chosen positions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..errors import MethodError
from .adapters import merged
from .layers import backbone, network

if TYPE_CHECKING:
    from .lm import LM

_NEVER = -1e4
"""Finite, so that means over the vocabulary stay numbers; its exponential is 0."""


@dataclass(frozen=True)
class Decoding:
    """The change, in `LM.patches`. It is a questioner's, not a model's: no folder keeps it."""

    banned: tuple[int, ...] = ()
    """Ids that are never said."""
    temperature: float = 1.0


def with_decoding(lm: LM, banned: Sequence[int] = (), temperature: float = 1.0) -> LM:
    """`lm` with tokens that are never said and with its logits divided by a temperature. The weights are shared.

    Args:
        lm: Any model, patched or not; an adapter is merged into a copy.
        banned: Ids; the others share the probability.
        temperature: T > 0.

    Raises:
        MethodError: a temperature that is none, or no token is left to be said.
    """
    patch = Decoding(tuple(sorted(set(banned))), temperature)
    size = lm.model.get_input_embeddings().weight.shape[0]
    if not temperature > 0 or len(patch.banned) >= size:
        problem = f"the temperature is {temperature} and {len(patch.banned)} of {size} tokens are banned"
        raise MethodError(problem, "a temperature above 0, and fewer tokens")
    return replace(lm, model=DecodingModel(merged(lm).model, patch).eval(), patches=(*lm.patches, patch))


class DecodingModel(nn.Module):
    """`model` with its logits changed.

    Args:
        model: A causal LM, or one of this package's that stands for several.
        patch: How; banned ids beyond the vocabulary are left out.
    """

    def __init__(self, model: Any, patch: Decoding):
        super().__init__()
        self.model, self.patch = model, patch

    def forward(self, input_ids: Tensor, **inputs: Any) -> CausalLMOutputWithPast:
        """Changed logits [B, T, V] of ids [B, T].

        Args:
            input_ids: [B, T].
            inputs: Whatever the network takes.
        """
        found = self.model(input_ids=input_ids, **inputs)
        return CausalLMOutputWithPast(logits=self.change(found.logits), past_key_values=found.past_key_values)

    def change(self, logits: Tensor) -> Tensor:
        """Logits [..., V] as they are decoded; the dtype is kept."""
        changed = logits if self.patch.temperature == 1.0 else logits / self.patch.temperature
        ids = [token for token in self.patch.banned if token < logits.shape[-1]]
        return changed.index_fill(-1, torch.tensor(ids, device=logits.device), _NEVER) if ids else changed

    def new_cache(self) -> Any:
        """An empty cache to generate with."""
        own = getattr(self.model, "new_cache", None)
        return own() if own else DynamicCache(config=self.config)

    # What the rest asks of a model of transformers.

    @property
    def config(self) -> Any:
        """The configuration of the network."""
        return self.model.config

    @property
    def base_model(self) -> Any:
        """Hidden states are the network's own; itself where it has none that decide the logits."""
        inner = network(self.model).base_model
        return self if inner is network(self.model) else backbone(self.model)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the network."""
        found: nn.Module = network(self.model).get_input_embeddings()
        return found

    def get_output_embeddings(self) -> _Head | None:
        """The network's head and the change after it."""
        own = getattr(network(self.model), "get_output_embeddings", lambda: None)()
        return None if own is None else _Head(own, self)

    def set_attn_implementation(self, name: str) -> None:
        """The same attention in the network."""
        self.model.set_attn_implementation(name)


@dataclass(frozen=True)
class _Head:
    """Read by `layers.head`: families that do more after their output embedding than that are found not to be plain."""

    module: Any
    owner: DecodingModel

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.owner.change(self.module(hidden))

    @property
    def weight(self) -> Tensor:
        found: Tensor = self.module.weight
        return found

    @property
    def bias(self) -> Tensor | None:
        found: Tensor | None = self.module.bias
        return found
