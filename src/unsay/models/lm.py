"""A causal language model with its tokenizer: load, save, copy, fingerprint."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..config.plan import ModelSpec
from ..data.template import Template
from ..errors import ModelError
from ..naming import digest
from .adapters import adapted, attach, merged, scales
from .fingerprint import tensors_digest, tokenizer_digest
from .folder import OLD_KEYS
from .patches import configs, restore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOT_BEHAVIOUR = {
    "_name_or_path",
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "use_cache",
} | OLD_KEYS
"""Configuration keys that change no output, so they stay out of the fingerprint."""


@dataclass
class LM:
    """A causal LM with its tokenizer. Weight methods change `model`; inference-time methods add a patch."""

    model: Any
    """A `PreTrainedModel`, or the `PeftModel` around one. fp32 unless someone made a working copy."""
    tokenizer: PreTrainedTokenizerBase
    origin: str
    """What it was loaded from: alias, hub id or absolute folder."""
    template: Template
    patches: tuple[Any, ...] = ()
    """What of its behaviour is not in the weights (see `patches`); empty for every method that changes them."""

    @classmethod
    def load(cls, spec: ModelSpec | str | Path) -> LM:
        """The model of a spec in fp32 and eval mode; with `spec.adapter`, a fresh LoRA adapter attached.

        A folder that holds a LoRA adapter alone is loaded together with its base, one with a patch.json is patched.

        Args:
            spec: What to load, or just its path.

        Raises:
            ModelError: not found, not trusted, incomplete, or not a causal language model.
            DamagedError: a file cannot be read.
            DataError: the tokenizer has no chat template and `spec.template` is not plain.
        """
        from .loading import load

        spec = spec if isinstance(spec, ModelSpec) else ModelSpec(path=str(spec))
        model, tokenizer, origin, folder = load(spec.path, spec.revision)
        lm = restore(cls(model, tokenizer, origin, Template.of(tokenizer, spec.template)), folder)
        return attach(lm, spec.adapter) if spec.adapter else lm

    def save(self, folder: Path, *, card: str | None = None, merge: bool = True) -> None:
        """Write a plain Hugging Face folder: safetensors, configurations, tokenizer, card. Replaces what was there.

        The folder appears whole or not at all, and carries a MANIFEST.json with the sha256 of every file.

        Args:
            folder: Where to.
            card: Text of the model card; a header is added when it brings none. None writes a short one.
            merge: Fold a LoRA adapter into the weights; False writes the adapter alone. An offset stays an offset: the
                folder holds the weights under it, and what makes it beside them.

        Raises:
            ModelError: a tensor holds NaN or infinity.
            ResourceError: no space.
        """
        from .saving import save

        save(merged(self) if merge else self, Path(folder), card)

    def fork(self) -> LM:
        """An independent copy: weights, buffers, adapter. The tokenizer is shared, as nothing changes it."""
        return LM(copy.deepcopy(self.model), self.tokenizer, self.origin, self.template, self.patches)

    def fingerprint(self) -> str:
        """Hex content hash of everything that decides an output: weights, configuration, tokenizer, template, patches.

        Nothing is cached, since weights change in place; 540 MB take less than a second.
        """
        config, *others = (_behaviour(config) for config in configs(self.model))
        return digest(
            [
                tensors_digest(self.model.state_dict()),
                config,
                tokenizer_digest(self.tokenizer),
                self.template.fingerprint(),
                [*self.patches, *others],
                scales(self.model),
            ]
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def attention(self) -> str:
        """The attention implementation in use, such as ``sdpa``."""
        return str(self.model.config._attn_implementation)

    def set_attention(self, name: str) -> None:
        """Switch to ``eager`` or ``sdpa``; results agree up to rounding.

        Raises:
            ModelError: the family does not have it.
        """
        network = self.model.get_base_model() if adapted(self.model) else self.model
        try:
            network.set_attn_implementation(name)
        except (ValueError, ImportError) as error:
            raise ModelError(f"{self.origin} has no {name} attention: {error}", "eager always works") from None


def _behaviour(config: Any) -> str:
    """What of a configuration decides an output."""
    kept = {k: v for k, v in config.to_dict().items() if k not in _NOT_BEHAVIOUR}
    return json.dumps(kept, sort_keys=True, default=str)
