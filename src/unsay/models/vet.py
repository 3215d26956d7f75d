"""Refuse what could run code or is not what it says, before anything of a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DamagedError, ModelError
from ..naming import file_digest
from ..runs.atomic import MANIFEST, read_manifest

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"}
_CODE_KEYS = ("auto_map", "_attn_implementation_internal", "_experts_implementation_internal", "custom_pipelines")
_CODE_KEYS_UNLESS_NULL = ("megatron_config",)
_IMPLEMENTATION_KEYS = ("_attn_implementation", "attn_implementation", "experts_implementation")
_HEADER_BYTES = 100_000_000
"""The safetensors format's own limit on its JSON header."""
_JSON_BYTES = 200_000_000


def refuse_files(names: Iterable[str], origin: str) -> None:
    """Refuse a model by the names of its files, which is all a hub shows before downloading.

    Raises:
        ModelError: it has Python files, or weights only as pickles, or no weights.
    """
    paths = [PurePosixPath(name) for name in names]
    code = sorted(str(p) for p in paths if p.suffix == ".py" and len(p.parts) == 1)
    if code:
        raise ModelError(
            f"{origin} brings Python code ({', '.join(code[:3])}), and code that travels with a model is never run",
            "remove the .py files if the architecture is one transformers has; otherwise this model cannot be used",
        )
    if any(p.suffix == ".safetensors" for p in paths):
        return
    if any(p.suffix in _PICKLES for p in paths):
        raise ModelError(
            f"{origin} has its weights only as pickles, which can run code when loaded; safetensors are expected",
            "convert them where you trust the file: AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)",
        )
    raise ModelError(
        f"{origin} holds no weights: no .safetensors file is there", "give a folder saved with save_pretrained"
    )


def vet(folder: Path, origin: str) -> Path:
    """`folder`, once nothing in it is found that could run code.

    Args:
        folder: A model folder, or a folder with a LoRA adapter alone.
        origin: What the user called it, for messages.

    Raises:
        ModelError: not a model, pickles instead of safetensors, Python files, or a configuration that names code.
        DamagedError: a JSON file or a safetensors header cannot be read.
    """
    configs = [folder / "config.json", folder / "adapter_config.json"]
    if not any(c.is_file() for c in configs):
        raise ModelError(f"{origin} is no model: it has no config.json", "give a folder saved with save_pretrained")
    refuse_files([p.name for p in folder.iterdir() if p.is_file()], origin)
    if not configs[0].is_file() and not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{origin} holds an adapter, but no adapter_model.safetensors", "save it with save_pretrained")
    for file in _files(folder, "*config.json"):
        _refuse_config(_read_json(file), file)
    for file in _files(folder, "*.safetensors"):
        _check_header(file)
    if (folder / MANIFEST).is_file():
        _check_manifest(folder)
    return folder


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _check_manifest(folder: Path) -> None:
    """What was saved is what is there, for the files that decide an output. The card may be edited, files added."""
    advice = f"make or download the model again; if the change is meant, remove {MANIFEST} beside it"
    try:
        files = read_manifest(folder)["files"]
    except DamagedError as error:
        raise DamagedError(f"{folder}: {error.message}", advice) from None
    for name, said in files.items():
        file = folder / name
        if file.suffix not in (".safetensors", ".json", ".jinja"):
            continue
        if not file.is_file() or file.stat().st_size != said["bytes"] or file_digest(file) != said["sha256"]:
            raise DamagedError(f"{file} is not as it was saved", advice)


def _read_json(file: Path) -> Any:
    if file.stat().st_size > _JSON_BYTES:
        raise DamagedError(f"{file} is larger than any configuration: {file.stat().st_size} bytes")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{file} is not JSON: {error}", "download or save the model again") from None


def _refuse_config(config: Any, file: Path) -> None:
    for key, value in _items(config):
        if key in _CODE_KEYS or (key in _CODE_KEYS_UNLESS_NULL and value):
            raise ModelError(
                f"{file} sets {key}, which makes loading run code that travels with the model",
                f"remove {key} if you trust the rest",
            )
        if key in _IMPLEMENTATION_KEYS and isinstance(value, str) and "/" in value:
            raise ModelError(f"{file} sets {key} to {value!r}, which is code to be fetched", f"remove {key}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _items(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _items(inner)


def _check_header(file: Path) -> None:
    """The 8-byte length and the JSON header must fit the file; offsets are checked by safetensors itself on loading."""
    size = file.stat().st_size
    with open(file, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > min(_HEADER_BYTES, size - 8):
            raise DamagedError(
                f"{file} is damaged or cut short: its header does not fit {size} bytes",
                "download or save the model again",
            )
        header = handle.read(length)
    try:
        json.loads(header)
    except (ValueError, RecursionError):
        raise DamagedError(
            f"{file} is no safetensors file: its header is not JSON", "download or save the model again"
        ) from None
