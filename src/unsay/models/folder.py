"""Make a folder written by transformers 5 readable by the releases people still have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OLD_KEYS = {
    "rope_theta",
    "rope_scaling",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "rotary_emb_base",
    "rotary_pct",
}
"""What `finish` adds to config.json: older spellings of what ``rope_parameters`` says."""


def finish(folder: Path) -> None:
    """Add what older readers look for to the configurations in `folder`; what transformers 5 reads stays as it was.

    Releases before 5 take ``rope_theta`` from the top level and fall back to their default without a word, which
    changes every logit; they also do not know the tokenizer class transformers 5 writes, nor the file of its template.
    """
    mode = (folder / "tokenizer_config.json").stat().st_mode & 0o777
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)  # safetensors makes its files readable by their owner alone
    _edit(folder / "config.json", _old_rope)
    _edit(folder / "tokenizer_config.json", _old_tokenizer_class)
    template = folder / "chat_template.jinja"
    if template.is_file():
        text = template.read_text(encoding="utf-8")
        _edit(folder / "tokenizer_config.json", lambda config: config.setdefault("chat_template", text))


def _edit(file: Path, change: Any) -> None:
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        change(content)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _old_rope(config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters")
    if not rope:
        return
    if "full_attention" in rope or "sliding_attention" in rope:
        local = rope.get("sliding_attention") or {}
        if "rope_theta" in local:
            config.setdefault("rope_local_base_freq", local["rope_theta"])
        rope = rope.get("full_attention") or {}
    if "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
    if "partial_rotary_factor" in rope:
        config.setdefault("partial_rotary_factor", rope["partial_rotary_factor"])
    if config.get("model_type") == "gpt_neox":
        config.setdefault("rotary_emb_base", rope.get("rope_theta"))
        config.setdefault("rotary_pct", rope.get("partial_rotary_factor", 1.0))
    if rope.get("rope_type", "default") != "default":
        config.setdefault(
            "rope_scaling", {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}
        )


def _old_tokenizer_class(config: dict[str, Any]) -> None:
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for noise in ("backend", "is_local", "local_files_only"):
        config.pop(noise, None)
