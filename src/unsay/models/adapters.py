"""LoRA through peft: attach, merge, switch off, scale.

Paper    Hu et al. (2021). LoRA: Low-Rank Adaptation of Large Language Models. arXiv:2106.09685
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..config.plan import Adapter
from ..errors import MethodError, ModelError
from ..runs.atomic import MANIFEST, read_manifest
from .fingerprint import tensors_digest

if TYPE_CHECKING:
    from .lm import LM

BASE_WEIGHTS = "base_weights"
"""In the manifest of an adapter saved alone: the digest of the weights it was trained on."""


def adapted(model: Any) -> bool:
    """Whether `model` is a peft model. Importing peft takes seconds, and a model made without it is none."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def attach(lm: LM, adapter: Adapter, seed: int = 0) -> LM:
    """`lm` with a fresh LoRA adapter that alone is trainable; it computes what `lm` does until trained (B starts at 0).

    `lm` itself stays as it was. The frozen weights are shared with it rather than copied, so `lm` must not be
    trained while the result is in use.

    Args:
        lm: A model without an adapter.
        adapter: Rank, scale and which modules; ``all-linear`` leaves the head out.
        seed: Of the adapter's A matrices; the global random state is left alone.

    Raises:
        MethodError: there is an adapter already, or no module has the names in `adapter.targets`.
    """
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers.pytorch_utils import Conv1D

    if hasattr(lm.model, "disable_adapter"):
        raise MethodError(f"{lm.origin} has an offset or adapter already", "merge it first, or leave model.adapter out")
    network = _sharing(lm.model)
    alpha: Any = 2 * adapter.rank if adapter.alpha is None else adapter.alpha
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=adapter.rank,
        lora_alpha=alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear" if adapter.targets == ("all-linear",) else list(adapter.targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = get_peft_model(network, settings)
        except ValueError as error:
            linear = sorted(
                {name.rsplit(".", 1)[-1] for name, m in network.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
            )
            raise MethodError(
                f"LoRA fits no module of {lm.origin}: {str(error).splitlines()[0][:200]}",
                f"model.adapter.targets: all-linear, or of {', '.join(linear)}",
            ) from None
    return replace(lm, model=model.eval())


def merged(lm: LM) -> LM:
    """`lm` as a plain model: W + scale·B·A, in the weights' own precision. `lm` keeps its adapter.

    Raises:
        ModelError: the merged weights are not finite.
    """
    if not adapted(lm.model):
        return lm
    try:
        network = copy.deepcopy(lm.model).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"the adapter cannot be merged: {error}", "train with a lower train.lr") from None
    return replace(lm, model=network.requires_grad_(True).eval())


def base_of(lm: LM) -> LM:
    """`lm` without its adapter, as a plain model that shares the frozen weights."""
    if not adapted(lm.model):
        return lm
    return replace(lm, model=_sharing(lm.model).unload())


def plain_of(model: Any) -> Any:
    """`model` without its adapter, sharing the weights, all of them trainable. `model` stays as it was."""
    shared = _sharing(model)
    return (shared.unload() if adapted(model) else shared).requires_grad_(True)


@contextmanager
def reference_disabled(model: Any) -> Iterator[None]:
    """Within, the model computes as if it had no adapter: the reference of a LoRA run, at no memory.

    Raises:
        MethodError: the model has no adapter.
    """
    if not hasattr(model, "disable_adapter"):  # peft's models and `offset.OffsetModel` have it
        raise MethodError(
            "only a model with an adapter can act as its own reference", "train.reference=copy, or set model.adapter"
        )
    with model.disable_adapter():
        yield


def scale_adapter(lm: LM, factor: float) -> LM:
    """A copy of `lm` whose adapter moves the weights `factor` times as far.

    Only B is multiplied, so W + s·B·A becomes W + factor·s·B·A: the same as extrapolating the merged weights
    (`weights.extrapolate`), when the adapter began at B = 0. Frozen weights are shared.

    Raises:
        MethodError: no adapter, or one that trains more than A and B.
    """
    if not adapted(lm.model):
        raise MethodError("there is no adapter to scale", "extrapolate the weights instead")
    for settings in lm.model.peft_config.values():
        if settings.modules_to_save or settings.bias != "none" or settings.use_dora:
            raise MethodError(
                "the adapter trains more than A and B, so scaling it is not extrapolation",
                "merge it and extrapolate the weights",
            )
    model = _sharing(lm.model)
    with torch.no_grad():
        for name, module in model.named_modules():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                if "lora_B" in f"{name}.{parameter_name}" or "lora_embedding_B" in f"{name}.{parameter_name}":
                    module._parameters[parameter_name] = nn.Parameter(parameter * factor)
    return replace(lm, model=model)


def scales(model: Any) -> dict[str, dict[str, float]]:
    """What each adapted module multiplies B·A by: the one number of an adapter that its tensors do not show."""
    if "peft" not in sys.modules:
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: dict(module.scaling) for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def load_adapter(network: Any, folder: Path, origin: str) -> Any:
    """`network` with the LoRA adapter in `folder` on it, trainable.

    Raises:
        ModelError: it is no LoRA adapter, does not fit, or was trained on other weights than these.
    """
    from peft import LoraConfig, PeftConfig, PeftModel

    try:
        settings = PeftConfig.from_pretrained(str(folder))
        trained_on = read_manifest(folder)["meta"].get(BASE_WEIGHTS) if (folder / MANIFEST).is_file() else None
        if trained_on is not None and trained_on != tensors_digest(network.state_dict()):
            raise ModelError(
                f"{origin} was trained on other weights than {settings.base_model_name_or_path} has now",
                "give back the base it was trained on; saving with model.adapter.merge=true needs none",
            )
        if not isinstance(settings, LoraConfig):
            raise ModelError(f"{origin} is an adapter of type {settings.peft_type}; LoRA is expected")
        return PeftModel.from_pretrained(network, str(folder), is_trainable=True).eval()
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ModelError(
            f"{origin}: the adapter does not fit its base model: {str(error).splitlines()[0][:200]}"
        ) from error


def _sharing(model: Any) -> Any:
    """A copy of the modules around the same storage: adapters can be put in and taken out without touching `model`."""
    tensors = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo={**tensors, **{id(b): b for b in model.buffers()}})
