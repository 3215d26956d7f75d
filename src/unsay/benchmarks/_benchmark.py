"""What every benchmark is."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol, runtime_checkable

from ..data.example import Example, ForgetData
from ..metrics.score import Metric

Wanted = Literal["up", "down", "match"]
"""Which way a metric should go: up, down, or like the retrained model."""


@runtime_checkable
class Benchmark(Protocol):
    """A frozen keyword-only dataclass: which rows are forgotten and measured, by what, and what counts as good."""

    cite: ClassVar[str]
    """Paper, or the data card for bundled data."""

    def data(self) -> ForgetData:
        """What the method sees: forget and retain (holdout and utility only for methods that stop early on them)."""
        ...

    def taught(self) -> Sequence[Example]:
        """Every row the *before* model learns (forget and retain); the retrained reference learns them without forget.

        Empty when the before model is given rather than taught.
        """
        ...

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """The measured rows by split: forget, retain, holdout, real-authors, world-facts, …"""
        ...

    def metrics(self) -> tuple[Metric, ...]:
        """What is measured on them."""
        ...

    def wanted(self) -> Mapping[str, Wanted]:
        """Direction by metric id; ids not listed carry no judgement."""
        ...

    def headline(self) -> tuple[str, ...]:
        """Metric ids shown first; at least one each of forgetting, utility and fluency."""
        ...
