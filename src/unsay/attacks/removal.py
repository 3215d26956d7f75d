r"""Removal: take off what comes off, and ask what is left.

    θ_bare = θu without its guard, screen and logit offset, W instead of W + s·B·A;   measured on F

Given    Nothing of the forget set; the folder of the model, as whoever downloads it has it.
Paper    Thaker et al. (2024). Guardrail Baselines for Unlearning in LLMs. arXiv:2403.03329 (what stands around the
         weights is not in them); Hu et al. (2021). LoRA. arXiv:2106.09685 (an adapter beside the weights comes off)
Limits   Finds what was left beside the weights, never what was merged into them. Of a model from which nothing comes
         off, it is the model as it is.
Differs  No training, and no questions of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..models.adapters import base_of
from ..models.patches import unpatched
from ._attack import Probe

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The weights alone, without patches and adapter."""

    axis: ClassVar[str] = "removals"

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model, which shares its weights with `lm`."""
        yield Probe("bare", replace(base_of(unpatched(lm))), at=1)
