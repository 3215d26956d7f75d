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
    """A frozen keyword-only dataclass. It runs on the unlearned model and on the controls (retrained), never alone.

    A class attribute `axis` says what `Probe.at` counts. An attack that compares takes the model before unlearning as
    a keyword of `probes`: ``before: LM | None = None``.
    """

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """Attacked variants of `lm`, weakest first. `lm` itself is left as it was when the iterator ends."""
        ...


@dataclass(frozen=True)
class Finding:
    """What an inspection read from one model at one place: knowledge of each example, up = more knowledge."""

    label: str
    """Short and unique within the inspection: ``layer-12``."""
    at: float
    """Place on the inspection's axis (layer, k, …), for the curve."""
    values: Mapping[str, float]
    """Example id → knowledge. What could not be read is left out."""
    note: str = ""


@runtime_checkable
class Inspection(Protocol):
    """An attack that reads the model instead of changing it (lens, patching, sampling); a frozen dataclass, too."""

    axis: str
    """What `Finding.at` counts, and the unit of the values: ``layer, log-probability``."""

    def inspect(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Finding]:
        """What `lm` knows of the forget rows, read in its inside or from samples.

        Args:
            lm: The model under attack, or a control. Left as it was.
            data: Its forget rows are asked; the others may serve as controls.
            run: Seed, folder, progress, `check_stop`.
            before: The model before unlearning, for inspections that compare.

        Raises:
            MethodError: `before` is needed and None, or the rows do not do (what and where).
        """
        ...
