r"""Precision: store the weights in 16 bits, load them again, and ask.

    θ' = fp32( bf16(θ) )   and   fp32( fp16(θ) )        every tensor, embeddings and norms included

Given    Nothing of the forget set.
Paper    Xu et al. (2025). ReLearn: Unlearning via Learning for Large Language Models. arXiv:2502.11190 (robustness
         of unlearning to the precision that a model is loaded in)
Limits   Refuses where models are measured in bf16, and says nothing where they were saved in it: both sides then are
         what the attack makes. Guards, screens and offsets stay.
Differs  The authors compute in the lower precision as well; here weights lose their digits and the arithmetic stays.
         Their 8 and 4 bits are `quantisation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..errors import MethodError, PlanError
from ..measure.working import resolve_precision
from ..models.quantise import plain_copy
from ._attack import Probe

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run

_TYPES = {"fp16": (torch.float16, 11), "bf16": (torch.bfloat16, 8)}
"""Type, and how many digits a number has in it (bits of the significand, the hidden one counted)."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Weights that went through a 16-bit file."""

    types: tuple[Literal["fp16", "bf16"], ...] = ("fp16", "bf16")

    axis: ClassVar[str] = "significand bits"

    def __post_init__(self) -> None:
        if not self.types or len(set(self.types)) < len(self.types) or not set(self.types) <= _TYPES.keys():
            raise PlanError(f"types: should be of fp16 and bf16, each once, got {self.types!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per type, most digits first.

        Raises:
            MethodError: the models are measured in bf16, or a weight is too large for fp16.
        """
        if resolve_precision(run.train.precision, lm.device) == "bf16":  # no more digits than either type keeps
            raise MethodError(
                "the models are measured in bf16, which loses what storing them in 16 bits would",
                "train.precision=fp32",
            )
        for name in sorted(self.types, key=lambda name: -_TYPES[name][1]):
            run.check_stop()
            kind, digits = _TYPES[name]
            stored = plain_copy(lm)
            for tensor, parameter in stored.model.named_parameters():
                parameter.data = parameter.data.to(kind).to(parameter.dtype)
                if not parameter.isfinite().all():
                    raise MethodError(
                        f"{tensor} has weights above {torch.finfo(kind).max:.0f}, which {name} cannot hold",
                        f"leave {name} out of types",
                    )
            yield Probe(name, stored, at=digits)
