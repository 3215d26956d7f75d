r"""Bucket crossing: how many weights an update has moved into another bucket of few bits. Needs no evaluation.

    BC_N = mean_j 1[ code_N(θu_j) ≠ code_N(θ0_j) ]        and   median_j |θu_j − θ0_j| / Δ_j        layer by layer

Near 0, the quantised model is nearly the quantised model before, and `quantisation` may be expected to find what was
forgotten. Not an attack itself: it compares two models and gives no number for a row.

Paper    After Zhang, Wang, Li, et al. (2024). Catastrophic Failure of LLM Unlearning via Quantization.
         arXiv:2410.16454; the number itself is this project's.
Limits   Necessary for a recovery, not sufficient: few weights can carry much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import PlanError
from ..models.adapters import merged
from ..models.layers import as_rows, linear_maps
from ..models.patches import unpatched
from ..models.quantise import codes
from ..models.weights import paired

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.lm import LM


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """One decoder layer."""

    layer: int
    bits: int
    share: float
    """BC_N: weights whose bucket changed, 0 to 1."""
    steps: float
    """Median |θu − θ0| in bucket widths of θ0."""
    weights: int
    """How many weights were compared."""


@torch.no_grad()
def bucket_crossing(before: LM, after: LM, bits: int = 4, group: int | None = None) -> tuple[Crossing, ...]:
    """What the linear maps of each decoder layer show.

    Args:
        before: θ0; its patches are dropped and its adapter is merged.
        after: θu, likewise.
        bits: N, 2 to 8.
        group: Weights of a row that share a scale; None is a row.

    Returns:
        One row per decoder layer, first to last.

    Raises:
        PlanError: bits out of range.
        ModelError: the two are not states of one model.
    """
    if not 2 <= bits <= 8 or (group is not None and group < 1):
        raise PlanError(f"bits: should be 2 to 8, group at least 1, got {bits!r} and {group!r}")
    start, end = (merged(unpatched(lm)) for lm in (before, after))
    paired(start, end)  # raises unless they are two states of one model
    old, new = linear_maps(start.model), linear_maps(end.model)
    layers: dict[int, list[str]] = {}
    for name in old:
        layers.setdefault(int(name.partition(".")[0]), []).append(name)
    found = []
    for layer, names in layers.items():
        pairs = [_compared(as_rows(old[name]), as_rows(new[name]), bits, group) for name in names]
        moved, steps = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        found.append(
            Crossing(
                layer=layer,
                bits=bits,
                share=float(moved.double().mean()),
                steps=float(steps.median()),
                weights=len(moved),
            )
        )
    return tuple(found)


def crossed(rows: Iterable[Crossing]) -> float:
    """BC_N over all layers: the share of all weights whose bucket changed."""
    counted = list(rows)
    return sum(row.share * row.weights for row in counted) / sum(row.weights for row in counted)


def _compared(old: Tensor, new: Tensor, bits: int, group: int | None) -> tuple[Tensor, Tensor]:
    """[out · in] whether the bucket changed, and how far the weight went in bucket widths."""
    new = new.to(old.device)
    (was, step), (now, _) = codes(old, bits, group), codes(new, bits, group)
    far = (new.float() - old.float()).abs() / torch.where(step > 0, step, 1.0)
    return (was != now).flatten(), far.flatten()
