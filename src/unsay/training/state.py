"""What a checkpoint holds, as safetensors and JSON alone, and how it is put back bit for bit."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import DamagedError

_WEIGHTS, _OPTIMISER, _REST = "weights.safetensors", "optimiser.safetensors", "state.json"


def write_state(
    folder: Path,
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer | None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
) -> None:
    """Write float32 weights and, unless training is over (None), optimiser, scheduler and random number generators."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    if optimiser is None or scheduler is None:
        return
    tensors: dict[str, Tensor] = {"random/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"random/cuda/{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    plain: dict[str, Any] = {}
    packed = optimiser.state_dict()
    for index, values in packed["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{key}"] = value.detach().cpu().contiguous()
            else:
                plain[f"{index}/{key}"] = value
    version, numbers, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)
    rest = {
        "rates": [{"lr": g["lr"], "initial_lr": g.get("initial_lr", g["lr"])} for g in packed["param_groups"]],
        "optimiser": plain,
        "scheduler": scheduler.state_dict(),
        "random": [version, numbers, gauss],
        "numpy": {**legacy, "state": {"key": legacy["state"]["key"].tolist(), "pos": legacy["state"]["pos"]}},
    }
    save_file(tensors, folder / _OPTIMISER)
    (folder / _REST).write_text(json.dumps(rest), encoding="utf-8")


def finished(folder: Path) -> bool:
    """Whether the checkpoint was written after the last step and holds weights alone."""
    return not (folder / _REST).exists()


def read_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Put the saved weights into `weights`.

    Raises:
        DamagedError: names or shapes differ.
    """
    saved = load_file(folder / _WEIGHTS)
    if {n: t.shape for n, t in saved.items()} != {n: t.shape for n, t in weights.items()}:
        raise DamagedError(f"{folder} holds another model's weights", "remove the folder, or give another out=")
    with torch.no_grad():
        for name, tensor in saved.items():
            weights[name].copy_(tensor)


def read_optimiser(folder: Path, optimiser: torch.optim.Optimizer, scheduler: Any) -> None:
    """Put optimiser and scheduler back as they were."""
    rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in load_file(folder / _OPTIMISER).items():
        if name.startswith("optimiser/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
    for name, value in rest["optimiser"].items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    for group, rates in zip(groups, rest["rates"], strict=True):
        group.update(rates)
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(rest["scheduler"])


def read_random(folder: Path) -> None:
    """Put the random number generators of Python, numpy and torch back."""
    rest = json.loads((folder / _REST).read_text(encoding="utf-8"))
    version, numbers, gauss = rest["random"]
    random.setstate((version, tuple(numbers), gauss))
    legacy = rest["numpy"]
    legacy["state"]["key"] = np.array(legacy["state"]["key"], dtype=np.uint32)
    np.random.set_state(legacy)
    tensors = load_file(folder / _OPTIMISER)
    torch.set_rng_state(tensors["random/torch"])
    if torch.cuda.is_available():
        saved = [tensors[f"random/cuda/{i}"] for i in range(torch.cuda.device_count())]
        torch.cuda.set_rng_state_all(saved)
