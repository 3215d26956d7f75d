"""Where a model comes from: a folder, a hub id, or the alias ``smollm2-135m``. Ends in a local folder of safetensors.

Nothing that is fetched is executed: pickled weights and code that travels with a model are refused (see `vet`).
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from ..errors import ModelError
from . import hub, smollm2
from .vet import vet

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?")
ALIASES = {smollm2.ALIAS: smollm2.fetch}


def fetch(path: str | Path, revision: str | None = None) -> Path:
    """The local folder of a model, downloaded when need be.

    Args:
        path: An alias, a folder, or a hub id (``owner/name``), looked for in this order.
        revision: Branch, tag or commit on the hub.

    Returns:
        A folder with ``config.json`` (or ``adapter_config.json``), safetensors and a tokenizer, checked by `vet`.

    Raises:
        ModelError: there is no such model, it cannot be reached, or it brings pickles or code.
        DamagedError: a file is not what it says.
        ResourceError: too little disk.
    """
    text = str(path)
    folder = Path(os.path.expanduser(text))
    if not text.strip():
        raise ModelError("no model was given", f"model.path={smollm2.ALIAS}, a folder, or a hub id")
    if text in ALIASES or folder.is_dir():
        if revision is not None:
            raise ModelError(
                f"{text} is not on the hub, so it has no revision {revision!r}", "leave model.revision out"
            )
        return vet(folder if text not in ALIASES else ALIASES[text](ask_hub=not hub.offline()), text)
    if folder.exists():
        raise ModelError(
            f"{text} is a file; a model is a folder with config.json and safetensors", f"model.path={folder.parent}"
        )
    close = difflib.get_close_matches(text.rsplit("/", 1)[-1].lower(), ALIASES, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"give a folder, a hub id (owner/name) or {smollm2.ALIAS}"
    if isinstance(path, Path) or not _HUB_ID.fullmatch(text):
        raise ModelError(f"no model at {text}: there is no such folder", hint)
    return vet(hub.snapshot(text, revision, hint), text)
