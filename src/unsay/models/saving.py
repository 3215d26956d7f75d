"""To a plain Hugging Face folder that loads without Unsay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data.template import Template
from ..errors import ModelError
from ..runs.atomic import commit_folder
from . import smollm2
from .adapters import BASE_WEIGHTS, adapted, base_of
from .fingerprint import tensors_digest
from .folder import finish
from .patches import UNCHANGED, underlying, unpatched, write
from .quiet import quiet

if TYPE_CHECKING:
    from .lm import LM

_SHOWN = 3


def save(lm: LM, folder: Path, card: str | None) -> None:
    """Write `lm` (plain, or adapter alone, patched or not) as `LM.save` describes."""
    refuse_non_finite(lm)
    lone_adapter, model = adapted(lm.model), underlying(lm).model
    meta = {BASE_WEIGHTS: tensors_digest(base_of(lm).model.state_dict())} if lone_adapter else {}
    written = [p for n, p in lm.model.state_dict().items() if not lone_adapter or "lora_" in n]
    size = sum(t.numel() * t.element_size() for t in written)
    with commit_folder(folder, meta=meta, existing="replace", expect_bytes=size) as scratch, quiet():
        if lone_adapter:
            for settings in model.peft_config.values():
                settings.base_model_name_or_path = lm.origin
            model.save_pretrained(scratch, save_embedding_layers=False)
        else:
            _mend_generation(model.generation_config)
            model.save_pretrained(scratch)
        lm.tokenizer.save_pretrained(scratch)
        finish(scratch)
        write(lm, scratch)
        _verify_tokenizer(lm, scratch)
        _card(lm, card).save(scratch / "README.md")


def refuse_non_finite(lm: LM) -> None:
    """Raise when a weight is NaN or infinite.

    Raises:
        ModelError: naming the tensors.
    """
    broken = [name for name, tensor in lm.model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    if broken:
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise ModelError(
            f"the model is broken and was not saved: NaN or infinity in {', '.join(broken[:_SHOWN])}{more}",
            "train with a lower train.lr, or continue from the last checkpoint",
        )


def _verify_tokenizer(lm: LM, folder: Path) -> None:
    """Raise when the tokenizer loads back as another one: transformers picks its class by the model's family, too."""
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if Template.of(again, lm.template.kind).fingerprint() != unpatched(lm).template.fingerprint():
        raise ModelError(
            f"the tokenizer would load back as a {type(again).__name__} that splits texts otherwise; nothing was saved",
            "use the tokenizer that belongs to this family of models",
        )


def _mend_generation(settings: Any) -> None:
    """Let sampling values stand beside ``do_sample=False``: Llama 2 loads with them, but cannot be saved with them."""
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True


def _card(lm: LM, text: str | None) -> Any:
    """The caller's card, or a short one; local paths stay out of the header."""
    from huggingface_hub import ModelCard, ModelCardData

    if text is not None and text.startswith("---"):
        return ModelCard(text)
    base = smollm2.HUB_ID if lm.origin == smollm2.ALIAS else lm.origin
    base_id = base if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) else None
    data = ModelCardData(
        base_model=base_id,
        library_name="peft" if adapted(lm.model) else "transformers",
        pipeline_tag="text-generation",
        tags=["unlearning"],
    )
    body = text or "# Model\n\nSaved by Unsay. Its run folder holds the plan, the measurements and the report.\n"
    if lm.patches:
        body += f"\n{UNCHANGED} Unsay applies patch.json when it loads this folder; nothing else does.\n"
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")
