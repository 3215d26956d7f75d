"""Tensors of a run that took long to find: kept in its folder, so that a stopped run does not find them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import DamagedError, MethodError
from ..runs import atomic

if TYPE_CHECKING:
    from torch import Tensor

    from ..runs.run import Run

FOLDER = "edit"


def kept(run: Run, name: str, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, or what it gave an earlier start of this run under the same key. On the CPU.

    Args:
        run: ``edit/<name>.safetensors`` in its folder holds them.
        name: A path component.
        key: Hash of everything they depend on.
        make: Name → tensor.
    """
    path = run.path(FOLDER, f"{name}.safetensors")
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("key") == key:
                    return {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118
        except SafetensorError:
            pass  # damaged: it can be found again
    made = {tensor: value.detach().cpu().contiguous() for tensor, value in make().items()}
    atomic.write_bytes(path, save(made, metadata={"key": key}))
    return made


def kept_by(folder: str, name: str) -> dict[str, Tensor]:
    """What an earlier run kept under `name` (layer → ``keys`` [n, d_in] that it edited), from its folder; {} for "".

    Raises:
        MethodError: the folder holds no such edit.
        DamagedError: its file cannot be read.
    """
    if not folder:
        return {}
    path = Path(folder).expanduser() / FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise MethodError(
            f"{folder} is no run of an editing method of this kind: there is no {FOLDER}/{path.name} in it"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DamagedError(f"{path} cannot be read: {error}", "run the earlier edit again") from None
