"""Which epoch of a run to go on from, judged by how well it forgets and what it costs.

    t* = argmax_t FQ_t   subject to   MU_t ≥ κ · MU_0        t = 1 … T; ties go to the earlier epoch

Paper    Wang, Zhang, Ye, Ren, Ren, Chen (2025). UIPE. arXiv:2503.04693, section 6.1: the epoch with the best forget
         quality, unless its utility is low, where forget quality means little
Limits   FQ of one epoch is a noisy number; the best of many is flattered by having been chosen.
Differs  The paper names no threshold for "low": here κ = 0.9, relaxed in steps of 0.05 until some epoch meets it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MethodError

_STEP = 0.05


@dataclass(frozen=True)
class Choice:
    """An epoch, and the bound it met."""

    epoch: int
    """Counted from 1: epoch 1 is the model after the first pass over the forget rows."""
    keep: float
    """κ that was met; less than what was asked for when no epoch met that."""


def choose_epoch(quality: Sequence[float], utility: Sequence[float], before: float, keep: float = 0.9) -> Choice:
    """The epoch with the best forget quality among those that keep enough utility.

    Args:
        quality: FQ_t, t = 1 … T; higher is better. An epoch without a finite number is never chosen.
        utility: MU_t, t = 1 … T, at least 0.
        before: MU_0, of the model before the first epoch; at least 0.
        keep: κ to begin with, in (0, 1].

    Raises:
        MethodError: the lists differ in length, no epoch has finite numbers, or an argument is out of its range.
    """
    if len(quality) != len(utility):
        raise MethodError(f"{len(quality)} forget qualities and {len(utility)} utilities: expected one pair an epoch")
    if not 0 < keep <= 1 or not (math.isfinite(before) and before >= 0):
        raise MethodError(f"keep is {keep}, utility before is {before}", "keep lies in (0, 1], a utility is at least 0")
    scored = [
        (q, u, t)
        for t, (q, u) in enumerate(zip(quality, utility, strict=True), start=1)
        if math.isfinite(q) and math.isfinite(u) and u >= 0
    ]
    if not scored:
        raise MethodError("no epoch has a finite forget quality and utility", "lower train.lr, or take more epochs")
    relaxed = 0
    while True:
        # from the first κ every time: taking 0.05 away again and again drifts
        least = max(0.0, round(keep - relaxed * _STEP, 10))
        fitting = [(-q, t) for q, u, t in scored if u >= least * before]
        if fitting:
            return Choice(min(fitting)[1], least)
        relaxed += 1
