"""From a vetted folder to a network and a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..errors import DamagedError, ModelError
from .quiet import quiet
from .sources import ALIASES, fetch


def load(path: str, revision: str | None = None) -> tuple[Any, Any, str, Path]:
    """Network (fp32, eval mode), tokenizer, origin and local folder of a model.

    Raises:
        ModelError: not found, not trusted, incomplete, or not a causal language model with a fast tokenizer.
        DamagedError: a file cannot be read.
    """
    folder = fetch(path, revision)
    is_folder = path not in ALIASES and Path(path).expanduser().is_dir()
    origin = str(folder.resolve()) if is_folder else path
    if not (folder / "config.json").is_file():
        from .adapters import load_adapter

        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = settings.get("base_model_name_or_path")
        if not base:
            raise ModelError(
                f"{path} is an adapter that does not say which model it belongs to", "give its base model instead"
            )
        network, tokenizer, origin, _ = load(base, settings.get("revision"))
        return load_adapter(network, folder, path), tokenizer, origin, folder
    network = load_network(folder, path)
    tokenizer = _tokenizer(folder, path)
    rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the model {rows} embeddings",
            "they are not from the same model",
        )
    return network.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, origin, folder


def load_network(folder: Path, origin: str) -> Any:
    """The network alone of a vetted folder, in fp32 and eval mode.

    Raises:
        ModelError: it is not a complete causal language model.
        DamagedError: its weights cannot be read.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{origin}: its config.json cannot be used: {_first_line(error)}",
            "a newer transformers may know this family",
        ) from None
    settings = config.to_dict()
    if settings.get("is_encoder_decoder"):
        raise ModelError(f"{origin} is an encoder-decoder model; a causal language model is expected")
    if settings.get("quantization_config"):
        raise ModelError(
            f"{origin} is stored quantised, and its weights cannot be trained as they are",
            "give the unquantised model it was made from",
        )
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise DamagedError(
            f"{origin}: its weights cannot be read: {_first_line(error)}", "download or save the model again"
        ) from None
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise ModelError(f"{origin} cannot be loaded as a causal language model: {_first_line(error)}") from error
    network, found = loaded
    absent = sorted(found["missing_keys"])
    if absent:
        raise ModelError(
            f"{origin}: {len(absent)} tensors are not in its files and would be random: {', '.join(absent[:3])}",
            "this is not a complete causal language model",
        )
    return network.eval()


def _tokenizer(folder: Path, origin: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the Rust tokenizer library raises bare Exception
        raise ModelError(
            f"{origin} has no tokenizer that can be loaded: {_first_line(error)}", "save the tokenizer into the folder"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{origin}: its tokenizer has no tokenizer.json, which is needed to find token boundaries",
            "save a fast tokenizer",
        )
    return tokenizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
