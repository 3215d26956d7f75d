"""The model as it is measured: no dropout, and weights in bf16 where the device multiplies that faster."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from ..errors import PlanError
from ..models.adapters import merged
from ..models.layers import backbone, head_is_plain, logits_of
from ..models.lm import LM

Precision = Literal["fp32", "bf16"]


def resolve_precision(wanted: str, device: torch.device | str = "cpu") -> Precision:
    """`wanted`, or for ``auto`` bf16 where the device has instructions for it.

    Asked of the hardware rather than timed: the answer names stored measurements, so a busy machine must not change it.

    Raises:
        PlanError: `wanted` is not auto, fp32 or bf16.
    """
    if wanted == "fp32":
        return "fp32"
    if wanted == "bf16":
        return "bf16"
    if wanted != "auto":
        raise PlanError(f"precision is {wanted!r}, expected auto, fp32 or bf16", "precision=auto")
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if kind == "cpu":
        found = torch.cpu.get_capabilities()
        return "bf16" if any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"
    return "fp32"


class Working:
    """A model under measurement.

    Args:
        model: In evaluation mode, in the precision wanted.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.plain = head_is_plain(model)
        """Whether the head can run on chosen positions; otherwise every position gets its logits."""

    def cache(self) -> Any:
        """An empty key-value cache for `states`; a model made of several networks brings its own."""
        own = getattr(self.model, "new_cache", None)
        return own() if own else DynamicCache(config=self.model.config)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.model.parameters()).dtype

    @torch.inference_mode()
    def states(self, **inputs: Any) -> Tensor:
        """[B, T, D] what `logits` reads at each position: last hidden states (the logits themselves if not `plain`)."""
        found: Tensor = backbone(self.model)(**inputs).last_hidden_state if self.plain else self.model(**inputs).logits
        return found

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """[A, V] logits at chosen positions [A, D]."""
        return logits_of(self.model, states) if self.plain else states


@contextlib.contextmanager
def working(lm: LM, precision: Precision) -> Iterator[Working]:
    """`lm`'s model ready for inference: evaluation mode, adapter merged, weights in `precision`. `lm` stays as it was.

    bf16 is a copy of half the size; buffers (rotary frequencies and the like) keep their type, as in a model that was
    loaded in bf16. fp32 is the model itself unless an adapter has to be merged or its weights are of another type.
    """
    plain = merged(lm).model
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    kept = all(p.dtype == dtype for p in plain.parameters() if p.is_floating_point())
    model = plain if kept else _converted(plain, dtype)
    was_training = model.training
    model.eval()
    try:
        yield Working(model)
    finally:
        model.train(was_training)


def _converted(model: Any, dtype: torch.dtype) -> Any:
    # Seeding the memo makes deepcopy take the converted weights: no second full-precision copy, ties stay tied.
    memo: dict[int, object] = {
        id(p): nn.Parameter(p.detach().to(dtype), requires_grad=False)
        for p in model.parameters()
        if p.is_floating_point()
    }
    return copy.deepcopy(model, memo)
