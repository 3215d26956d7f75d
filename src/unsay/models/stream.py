"""The line through two saved models, file to file: θ(s) = θ0 + s·(θu − θ0), a slice of a tensor in memory at a time.

What `weights.extrapolate` does with loaded models, for models that do not fit into memory twice: both folders are
memory-mapped, each tensor is moved in float32, a million elements at a time, and written at once. Tied weights stand in
a file once, so they are moved once; integers are taken from θu as they are.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import ModelError
from ..runs.atomic import MANIFEST, commit_folder
from .patches import FILE as PATCH
from .vet import vet

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FARTHEST = 1e30
_SLICE = 2**20
"""Elements moved at a time: what is held besides the two mapped files is a few of these, whatever a tensor's size. A
power of two, so that vector instructions take the same elements together as over the whole tensor."""


@dataclass(frozen=True)
class Written:
    """What came of it."""

    folder: Path
    tensors: int
    parameters: int
    swallowed: int
    """Parameters in which θu differs from θ0, and θ(s) is nevertheless the same number as θu: the further way was
    shorter than the rounding of the file's dtype. Not counted in float32, where no useful step could be."""


def write_between(before: Path, after: Path, scale: float, out: Path) -> Written:
    """Write θ0 + scale·(θu − θ0) as a plain folder like `after`: its dtypes, its shards, its configuration.

    Args:
        before: Folder of θ0 (safetensors, in one file or in shards).
        after: Folder of θu, of the same architecture.
        scale: s; 1 + α extrapolates (UIPE), between 0 and 1 interpolates, below 0 goes the other way.
        out: New folder; appears whole or not at all.

    Raises:
        ModelError: a folder is an adapter or a patch and not plain weights, the two differ in their tensors, or the
            result is not finite.
        RunError: `out` exists.
        ResourceError: no space. DamagedError: a file cannot be read.
    """
    if not abs(scale) <= _FARTHEST:
        raise ModelError(f"s = {scale:g} is too far", "1 + α, with α below 10 for anything that is still a model")
    with ThreadPoolExecutor(2) as pool:  # hashing, which both do without holding the other up
        for folder in pool.map(lambda folder: vet(folder, str(folder)), (before, after)):
            _plain(folder)
    where = {name: file for name, file in _tensors(before)}
    shards: dict[Path, list[str]] = {}
    for name, file in _tensors(after):
        shards.setdefault(file, []).append(name)
    names = {name for members in shards.values() for name in members}
    if odd := sorted(where.keys() ^ names):
        raise ModelError(
            f"{before} and {after} are not two states of one model: they differ in {', '.join(odd[:3])}",
            "give models of the same architecture",
        )
    size = sum(file.stat().st_size for file in shards)
    swallowed = parameters = 0
    with commit_folder(out, meta={"scale": scale}, expect_bytes=size) as scratch, ExitStack() as stack:
        opened = {f: stack.enter_context(safe_open(f, "pt")) for f in {*shards, *where.values()}}
        for other in after.iterdir():
            if other.is_file() and other not in shards and other.name != MANIFEST:
                shutil.copyfile(other, scratch / other.name)
        for shard, members in shards.items():
            header = _header(shard)
            with open(scratch / shard.name, "wb") as target:
                target.write(header)
                for name in members:  # in the order of their offsets
                    old, new = opened[where[name]].get_tensor(name), opened[shard].get_tensor(name)
                    parameters += new.numel()
                    for was, now in _slices(name, old, new):
                        moved = _move(name, was, now, scale)
                        target.write(moved.view(torch.uint8).numpy().data)
                        swallowed += _swallowed(was, now, moved, scale)
    return Written(out, len(names), parameters, swallowed)


def _slices(name: str, old: Tensor, new: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both tensors, flat and piece by piece, as views of the mapped files."""
    if old.shape != new.shape:
        raise ModelError(
            f"{name} has shape {list(old.shape)} before and {list(new.shape)} after",
            "give two states of the same model",
        )
    yield from zip(old.view(-1).split(_SLICE), new.view(-1).split(_SLICE), strict=True)


def _move(name: str, old: Tensor, new: Tensor, scale: float) -> Tensor:
    """[n] the numbers at `scale`, in the dtype of `new`."""
    if not new.is_floating_point():
        return new
    moved = torch.lerp(old.float(), new.float(), scale).to(new.dtype)
    if not bool(torch.isfinite(moved).all()):
        raise ModelError(f"{name} is not finite at s = {scale:g}", "go less far")
    return moved


def _swallowed(old: Tensor, new: Tensor, moved: Tensor, scale: float) -> int:
    if scale == 1 or not new.is_floating_point() or new.dtype == torch.float32:
        return 0
    return int(((moved == new) & (old.to(new.dtype) != new)).sum())


def _plain(folder: Path) -> None:
    if (folder / PATCH).is_file():
        raise ModelError(f"{folder} is a patch on unchanged weights, so there is no line", "give plain weights")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds an adapter alone", "save it merged: model.adapter.merge=true")


def _tensors(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every tensor, file by file in the order in which their bytes stand."""
    index, single = folder / _INDEX, folder / _SINGLE
    if single.is_file():
        files = [single]
    elif index.is_file():
        files = sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    else:
        raise ModelError(f"{folder} has neither {_SINGLE} nor {_INDEX}", "give a folder saved with save_pretrained")
    for file in files:
        about = {name: entry for name, entry in _read(file).items() if name != "__metadata__"}
        for name in sorted(about, key=lambda n: about[n]["data_offsets"]):
            yield name, file


def _header(file: Path) -> bytes:
    """Everything in front of the numbers: eight bytes of length and the JSON, as they are."""
    with open(file, "rb") as source:
        length = source.read(8)
        return length + source.read(struct.unpack("<Q", length)[0])


def _read(file: Path) -> dict[str, Any]:
    return json.loads(_header(file)[8:])  # type: ignore[no-any-return]
