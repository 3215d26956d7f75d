"""A large frozen model plus the difference of two small ones, as one network: z = z_M + a·(z_o − z_o0).

It is called like any causal LM of transformers, and `layers.head_is_plain` is False for it, so that training, scoring
and generation all take its logits from a whole forward. Only M_o can be trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..errors import MethodError
from .adapters import adapted, plain_of
from .layers import network


class Caches:
    """The key-value caches of the networks in an `OffsetModel`, by their role."""

    def __init__(self, configs: Mapping[str, Any]):
        self.parts = {role: DynamicCache(config=config) for role, config in configs.items()}

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep the batch rows [R] int64 alone."""
        for part in self.parts.values():
            part.batch_select_indices(rows)


class OffsetModel(nn.Module):
    """z(·|x) = z_M(·|x) + a·(z_o(·|x) − z_o0(·|x)).

    Args:
        small: M_o; a peft model when its adapter is what M_o and M_o0 differ in.
        a: How much of the difference is added.
        anchor: M_o0. None is `small` with its adapter off, at no memory.
        large: M. None is M_o0, at no further forward.
    """

    def __init__(self, small: Any, a: float, *, anchor: Any = None, large: Any = None):
        super().__init__()
        if anchor is None and not adapted(small):
            raise MethodError("the offset needs M_o0: a frozen copy of the small model, or an adapter to switch off")
        self.small, self.anchor, self.large, self.a = small, anchor, large, a
        self._off = False
        for frozen in (anchor, large):
            if frozen is not None:
                frozen.requires_grad_(False)

    def forward(
        self, input_ids: Tensor, past_key_values: Caches | None = None, **inputs: Any
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V] in float32, V that of M. Gradient reaches M_o alone.

        Args:
            input_ids: [B, T].
            past_key_values: From `new_cache`.
            inputs: Whatever the networks take; each is given the same.

        Raises:
            MethodError: a cache of another kind.
        """
        if not isinstance(past_key_values, Caches | None):
            raise MethodError("an offset model keeps one cache per network", "take past_key_values from new_cache()")
        inputs["use_cache"] = past_key_values is not None

        def logits(role: str, model: Any) -> Tensor:
            cache = past_key_values.parts[role] if past_key_values else None
            found: Tensor = model(input_ids=input_ids, past_key_values=cache, **inputs).logits
            return found.float()

        with torch.no_grad():
            z = logits("large", self.large) if self.large is not None else None
            if z is None or not self._off:
                base = self._anchored(logits)
                z = base if z is None else z
        if not self._off:
            z = z + self.a * _as_wide_as(z, logits("small", self.small) - base)
        return CausalLMOutputWithPast(logits=z, past_key_values=past_key_values)  # type: ignore[arg-type]

    def _anchored(self, logits: Any) -> Tensor:
        """z_o0."""
        if self.anchor is not None:
            return logits("anchor", self.anchor)
        with self.small.disable_adapter():
            return logits("anchor", self.small)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within, the logits are those of M: the reference of a training that began at offset 0."""
        self._off = True
        try:
            yield
        finally:
            self._off = False

    def new_cache(self) -> Caches:
        """An empty cache to generate with."""
        anchor = self.small if self.anchor is None else self.anchor
        found = {"small": self.small, "anchor": anchor, **({} if self.large is None else {"large": self.large})}
        return Caches({role: network(model).config for role, model in found.items()})

    def is_zero(self) -> bool:
        """Whether M_o still is M_o0."""
        if self.anchor is None:
            up = [p for name, p in self.small.named_parameters() if "lora_B" in name or "lora_embedding_B" in name]
            return not any(p.any() for p in up)
        pairs = zip(self.small.parameters(), self.anchor.parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def underlying(self) -> Any:
        """M as a plain model that can be trained, sharing the weights."""
        front = self.large if self.large is not None else self.anchor if self.anchor is not None else self.small
        return plain_of(front)

    def small_anchor(self) -> Any:
        """M_o0 as a plain model, sharing the weights."""
        return plain_of(self.small if self.anchor is None else self.anchor)

    # What the rest asks of a model of transformers.

    @property
    def networks(self) -> tuple[Any, ...]:
        """The distinct networks in it, the one in front first."""
        found = [model for model in (self.large, self.anchor, self.small) if model is not None]
        return tuple(network(model) for model in found)

    @property
    def config(self) -> Any:
        """The configuration of M."""
        return self.networks[0].config

    @property
    def base_model(self) -> nn.Module:
        """Itself: no hidden state of one network decides the logits."""
        return self

    def get_input_embeddings(self) -> nn.Module:
        """Those of M."""
        found: nn.Module = self.networks[0].get_input_embeddings()
        return found

    def set_attn_implementation(self, name: str) -> None:
        """The same attention in all networks."""
        for inner in self.networks:
            inner.set_attn_implementation(name)

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """For M_o, the only one that keeps activations."""
        network(self.small).gradient_checkpointing_enable(**settings)


def _as_wide_as(z: Tensor, offset: Tensor) -> Tensor:
    """`offset` [..., v] with as many columns as `z` [..., V]: sizes of a family pad the same vocabulary differently."""
    width = z.shape[-1]
    return nn.functional.pad(offset[..., :width], (0, max(0, width - offset.shape[-1])))
