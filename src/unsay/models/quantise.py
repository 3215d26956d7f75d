r"""Weights rounded to few bits and written back in their own type: what a quantised copy of a model computes with.

    intN       Δ = max|w| / (2^(N−1) − 1),   code = round(w / Δ),   Q(w) = code · Δ      one Δ for each row of a map
    intN-gG    the same with one Δ for each G weights of a row
    nf4, fp4   Q(w) = s · argmin_c |w/s − c|,   s = max|w|      c of 16 levels, one s for each 64 weights of a map

Paper    Dettmers, Pagnoni, Holtzman, Zettlemoyer (2023). QLoRA: Efficient Finetuning of Quantized LLMs.
         arXiv:2305.14314 (NF4); fp4 has the levels that bitsandbytes gives it.
Limits   Linear maps of the decoder layers alone: embeddings, head, norms and biases stay as they are, as in
         bitsandbytes. Round to nearest: no calibration, as GPTQ and AWQ have. Scales are not rounded themselves.
         Under a logit offset the model is rounded, and networks that stand beside it are not.
Differs  Formulas for the bucket width often divide by 2^(N−1), which needs 2^N + 1 codes; here they fit into N bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import PlanError
from .adapters import merged
from .layers import as_rows, linear_maps
from .patches import underlying

if TYPE_CHECKING:
    from .lm import LM

_BLOCK = 64
_INT = re.compile(r"int([2-8])(?:-g([1-9][0-9]*))?")
_NF4 = (
    *(-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)
_FP4 = tuple(sorted({sign * step / 12 for sign in (-1, 1) for step in (0, 0.0625, 2, 3, 4, 6, 8, 12)}))
_LEVELS = {"nf4": _NF4, "fp4": _FP4}


@dataclass(frozen=True)
class Format:
    """How weights are stored."""

    bits: int
    group: int | None
    """Weights that share a scale; None is a row."""
    levels: tuple[float, ...] = ()
    """Of a codebook, ascending from −1 to 1; empty for equal steps."""


def number_format(name: str) -> Format:
    """The format called `name`: ``int2`` to ``int8``, with ``-g64`` or another group; ``nf4``; ``fp4``.

    Raises:
        PlanError: there is no such format.
    """
    if name in _LEVELS:
        return Format(4, _BLOCK, _LEVELS[name])
    found = _INT.fullmatch(name)
    if not found:
        raise PlanError(f"no number format is called {name!r}", "int8, int4, int4-g64, int3-g64, nf4, fp4")
    return Format(int(found[1]), int(found[2]) if found[2] else None)


def codes(weight: Tensor, bits: int, group: int | None = None) -> tuple[Tensor, Tensor]:
    """Bucket and bucket width of every weight.

    Args:
        weight: [out, in].
        bits: N, 2 to 8.
        group: Weights of a row that share Δ; None is all of them.

    Returns:
        Codes [out, in] int8 of −(2^(N−1) − 1) … 2^(N−1) − 1, and Δ [out, in] float32; both 0 where a group is all 0.
    """
    blocks = _blocked(weight.float(), group or weight.shape[1])
    step = blocks.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    found = torch.round(blocks / torch.where(step > 0, step, 1.0)).to(torch.int8)
    rows, width = weight.shape
    return found.reshape(rows, -1)[:, :width], step.expand_as(blocks).reshape(rows, -1)[:, :width]


def quantised(weight: Tensor, form: Format) -> Tensor:
    """Q(w) [out, in] in float32."""
    if not form.levels:
        found, step = codes(weight, form.bits, form.group)
        return found * step
    blocks = _blocked(weight.float().reshape(1, -1), form.group or weight.numel())
    scale = blocks.abs().amax(-1, keepdim=True)
    levels = torch.tensor(form.levels, device=weight.device)
    nearest = torch.bucketize(blocks / torch.where(scale > 0, scale, 1.0), (levels[1:] + levels[:-1]) / 2)
    return (levels[nearest] * scale).reshape(-1)[: weight.numel()].view_as(weight)


@torch.no_grad()
def in_format(lm: LM, form: Format) -> LM:
    """A copy of `lm` whose linear maps hold Q(w); adapters are merged first, patches stay (see `plain_copy`).

    Raises:
        ModelError: the family has no decoder layers.
    """
    result = plain_copy(lm)
    for module in linear_maps(underlying(result).model).values():
        weight = as_rows(module)
        weight.copy_(quantised(weight, form))
    return result


def plain_copy(lm: LM) -> LM:
    """`lm` with weights of its own, its adapter merged into them.

    Patches stay, as whoever deploys the model keeps them; the networks of a logit offset stay apart from the one under
    it.
    """
    plain = merged(lm)
    return lm.fork() if plain is lm else plain


def _blocked(weight: Tensor, group: int) -> Tensor:
    """[rows, blocks, group], filled up with zeros."""
    rows, width = weight.shape
    return torch.nn.functional.pad(weight, (0, -width % group)).view(rows, -1, group)
