r"""Quantisation: round the weights to few bits and ask again.

    Q(θu) = Q(θ0)   wherever  |θu − θ0| ≪ Δ        Q, Δ: see `unsay.models.quantise`

An update that is small beside the width of a bucket moves few weights into another one, so rounding takes it back.

Given    Nothing of the forget set.
Paper    Zhang, Wang, Li, et al. (2024). Catastrophic Failure of LLM Unlearning via Quantization. arXiv:2410.16454
Limits   A low recovery says that rounding to the nearest does not undo this update, not that nothing does. Few bits
         spoil every model, so that the control is needed. `bucket_crossing` says beforehand what to expect. Guards,
         screens and offsets stay around the rounded weights.
Differs  The authors load 4 bits through bitsandbytes, GPTQ and AWQ; here weights are rounded and written back, and
         everything else is computed as before. They give no formula for the knowledge that came back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import PlanError
from ..models.quantise import in_format, number_format
from ._attack import Probe

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Linear maps of the decoder layers in few bits; embeddings, head and norms stay."""

    formats: tuple[str, ...] = ("int8", "int4-g64", "nf4", "fp4", "int4", "int3-g64")
    """Number formats, see `unsay.models.quantise`: ``int4`` has a scale a row, ``int4-g64`` one for 64 weights."""

    axis: ClassVar[str] = "bits"

    def __post_init__(self) -> None:
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise PlanError(f"formats: should be different formats, got {self.formats!r}")
        for name in self.formats:
            number_format(name)

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per format, most bits first.

        Raises:
            ModelError: the family has no decoder layers with linear maps.
        """
        for name in sorted(self.formats, key=lambda name: -number_format(name).bits):
            run.check_stop()
            form = number_format(name)
            yield Probe(name, in_format(lm, form), at=form.bits)
