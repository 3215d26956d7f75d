"""What every attack is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..data.example import Example, ForgetData

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True)
class Probe:
    """One attacked model (changed weights) or one set of attacked questions."""

    label: str
    """Short and unique within the attack: ``step-10``."""
    lm: LM
    at: float
    """Strength on the attack's axis (steps, bits, …), for the curve."""
    splits: Mapping[str, Sequence[Example]] | None = None
    """Changed questions; None keeps the benchmark's."""


@runtime_checkable
class Attack(Protocol):
    """A frozen keyword-only dataclass. It runs on the unlearned model and on the controls (retrained), never alone."""

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """Attacked variants of `lm`, weakest first. `lm` itself is left as it was when the iterator ends."""
        ...
