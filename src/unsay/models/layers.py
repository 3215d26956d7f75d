"""Where things are in a network: backbone, head, decoder layers. One generic rule, checked against the network itself.

Every family of transformers keeps a backbone under ``base_model_prefix`` and an output embedding; what some do between
the two (scale, soft-cap) is named in their configuration. `head_is_plain` compares this with the network's own logits.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError
from .adapters import adapted

_MLP_OUT = re.compile(r"(mlp|feed_forward|ffn)\.(down_proj|dense_4h_to_h|fc2|c_proj|w2)$")
_MLP_NORM = ("post_feedforward_layernorm", "post_mlp_layernorm")
_PLAIN: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: ``softcap · tanh(scale · (h Wᵀ + b) / softcap)``."""

    module: Any
    """The output embedding; call it rather than use `weight` when it may carry an adapter."""
    softcap: float | None = None
    """None is no cap."""
    scale: float = 1.0

    @property
    def weight(self) -> Tensor:
        """[V, D]; the input embedding itself in tied families."""
        return self.module.weight

    @property
    def bias(self) -> Tensor | None:
        """[V], or None."""
        return self.module.bias

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D], in the dtype of the head."""
        logits = self.module(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def network(model: Any) -> Any:
    """The transformers model inside a peft model, or `model` itself. Adapters stay in place and active."""
    return model.get_base_model() if adapted(model) else model


def backbone(model: Any) -> nn.Module:
    """The part whose ``last_hidden_state`` [B, T, D] is what the head reads (after the final norm).

    Raises:
        ModelError: the family has no such part.
    """
    inner = network(model)
    if inner.base_model is inner:
        raise ModelError(f"{type(inner).__name__} keeps no backbone apart from its head")
    return inner.base_model


def head(model: Any) -> Head:
    """The head of `model`. Whether it is the whole truth for this family says `head_is_plain`.

    Raises:
        ModelError: the network has no output embedding.
    """
    inner = network(model)
    module = inner.get_output_embeddings()
    if module is None:
        raise ModelError(f"{type(inner).__name__} has no output embedding")
    settings = inner.config.get_text_config().to_dict()
    scale = float(settings.get("logit_scale") or 1.0) * float(settings.get("lm_head_multiplier") or 1.0)
    return Head(module, settings.get("final_logit_softcapping"), scale / float(settings.get("logits_scaling") or 1.0))


def logits_of(model: Any, hidden: Tensor) -> Tensor:
    """Logits [A, V] of the backbone's hidden states at A positions [A, D]: the network's own, on those rows alone."""
    return head(model)(hidden)


def head_is_plain(model: Any) -> bool:
    """Whether `backbone` and `logits_of` give the network's own logits; found out once per network on a few tokens.

    Where it is False, take the logits from a whole forward.
    """
    if model not in _PLAIN:
        _PLAIN[model] = _agrees(model)
    return _PLAIN[model]


@torch.no_grad()
def _agrees(model: Any) -> bool:
    was_training = model.training
    model.eval()
    try:
        rows = network(model).get_input_embeddings().weight
        ids = torch.arange(min(4, rows.shape[0]), device=rows.device)[None]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        own = model(**inputs).logits[0].float()
        ours = logits_of(model, backbone(model)(**inputs).last_hidden_state[0]).float()
        # Rounding of the weights' dtype, relative to the size of the logits.
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-9}.get(rows.dtype, 2e-2)
        return own.shape == ours.shape and bool((own - ours).abs().max() <= tolerance * own.abs().max().clamp(min=1.0))
    except (ModelError, AttributeError, TypeError):
        return False
    finally:
        model.train(was_training)


def decoder_layers(model: Any) -> nn.ModuleList:
    """The transformer blocks, first to last.

    Raises:
        ModelError: no list of as many modules as the configuration has layers.
    """
    inner = network(model)
    count = inner.config.get_text_config().num_hidden_layers
    for module in backbone(model).children():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"{type(inner).__name__} has no list of {count} decoder layers")


def linear_maps(model: Any) -> dict[str, nn.Module]:
    """Every linear map inside the decoder layers, as ``<layer>.<name>``: no embedding, head or norm.

    Each is an `nn.Linear`, or a `Conv1D` with its weight the other way round (see `as_rows`). Experts that a family
    keeps in one tensor are not among them.

    Args:
        model: Without an adapter, whose own factors would be listed, too.

    Raises:
        ModelError: the family has no decoder layers, or no such maps in them.
    """
    from transformers.pytorch_utils import Conv1D

    found: dict[str, nn.Module] = {
        f"{number}.{name}": module
        for number, block in enumerate(decoder_layers(model))
        for name, module in block.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }
    if not found:
        raise ModelError(f"{type(network(model)).__name__} has no linear maps in its decoder layers")
    return found


def as_rows(module: Any) -> Tensor:
    """The weight [out, in] of a linear map; a view of it, so that copying into it changes the map."""
    weight: Tensor = module.weight
    return weight if isinstance(module, nn.Linear) else weight.T


def mlp_output(block: nn.Module) -> nn.Module:
    """The last linear map of a decoder layer's MLP: `nn.Linear`, or `Conv1D` with its weight the other way round.

    Raises:
        ModelError: there is none of a known name, or several (a mixture of experts).
    """
    found = [module for name, module in block.named_modules() if _MLP_OUT.search(name)]
    if len(found) != 1:
        raise ModelError(
            f"{type(block).__name__} has {len(found)} output projections of an MLP, expected one",
            "models with one MLP a layer can be edited; for others use a gradient method",
        )
    return found[0]


def mlp_norm(block: nn.Module) -> nn.Module | None:
    """The norm between the MLP and the residual stream, where a family has one (Gemma 2 and 3)."""
    return next((module for name, module in block.named_children() if name in _MLP_NORM), None)


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """[B, T] ids, padded on the right."""
    ids = np.full((len(rows), max(map(len, rows))), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return torch.from_numpy(ids)
