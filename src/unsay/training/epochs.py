"""The epoch of a training to go on from, chosen without a retrained model.

Every epoch's trained parameters are kept on disk until one is chosen, so that a resumed training loses none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors.torch import load_file, save_file

from ..data.example import ForgetData
from ..errors import MethodError
from ..selection import choose_epoch
from .batch import encode_rows
from .coefficient import kept_rows, probability
from .gradient import GradientMethod

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


class Trains(Protocol):
    """A method."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """As every method's."""
        ...


def trains_by_epochs(method: object) -> bool:
    """Whether `method` is a loss that is stepped along, or wraps one as its ``base``: others have no epochs.

    Wrappers that train apart from the run they are given have none either, and are found out only by training.
    """
    return any(isinstance(one, GradientMethod) for one in (method, getattr(method, "base", None)))


def best_epoch(method: Trains, lm: LM, data: ForgetData, run: Run, keep: float) -> LM:
    """Train by `method`, and take the epoch that forgets best while it keeps enough (`selection.choose_epoch`).

    Forget quality of an epoch: −|ln p(forget) − ln p₀(holdout)|, or −ln p(forget) without holdout rows. In the place of
    utility: p(keep). Here p is the mean over rows of the answers' probability, p₀ that of the model before, and the
    rows to keep are utility rows or, where there are none, retain rows, at most 64 of them. The method may train on
    retain rows: that they keep their probability does not say that utility does.

    Args:
        method: Trains by epochs.
        lm: The model before.
        data: Forget rows, rows to keep, maybe holdout rows.
        run: Of the training.
        keep: κ to begin with.

    Raises:
        MethodError: no rows to keep, or the method does not train by epochs.
    """
    limit = run.plan.data.max_length
    kept = encode_rows(kept_rows(data, run.seed), lm.template, limit)
    forget, holdout = (encode_rows(rows, lm.template, limit) for rows in (data.forget, data.holdout))
    folder = run.path("checkpoints", "epochs")  # goes when the checkpoints go

    def save(epoch: int, now: Callable[[], LM]) -> None:
        weights = {n: p.detach().contiguous() for n, p in now().model.named_parameters() if p.requires_grad}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / "writing")
        (folder / "writing").replace(_file(folder, epoch))

    after = method.unlearn(lm, data, run.sub("training", each_epoch=save))
    if not _file(folder, 1).is_file():
        raise MethodError("the base method does not train by epochs, so that none can be chosen", "method.epoch=last")
    start, level = probability(lm, kept), probability(lm, holdout) if holdout else None
    quality: list[float] = []
    utility: list[float] = []
    while (file := _file(folder, len(quality) + 1)).is_file():
        run.check_stop()
        _put(after, file)
        reached = math.log(max(probability(after, forget), 1e-30))
        quality.append(-reached if level is None else -abs(reached - math.log(max(level, 1e-30))))
        utility.append(probability(after, kept))
        run.log(epoch=len(quality), quality=quality[-1], utility=utility[-1])
    chosen = choose_epoch(quality, utility, start, keep)
    _put(after, _file(folder, chosen.epoch))
    run.note(f"base epoch {chosen.epoch} of {len(quality)}, which keeps {chosen.keep:.0%} of the rows to keep")
    return after


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch}.safetensors"


def _put(lm: LM, file: Path) -> None:
    parameters = dict(lm.model.named_parameters())
    with torch.no_grad():
        for name, tensor in load_file(file).items():
            parameters[name].copy_(tensor)
