"""What a stopping rule is: it looks at the model now and then, and says stop, or which rows to leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..combiners._combiner import State, Watch


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of a look."""

    reason: str = ""
    """Why the training ends; empty to go on."""
    resting: tuple[int, ...] = ()
    """Numbers of the forget rows that are left out until the next look."""
    seen: Mapping[str, float] | None = None
    """What was measured, for the log."""


class Stop:
    """Base of all."""

    @property
    def every(self) -> float:
        """Epochs between looks; 0 never looks."""
        return 0.0

    def start(self, watch: Watch) -> State:
        """What later looks compare with."""
        return {}

    def look(self, watch: Watch, state: State) -> Verdict:
        """Judge the present weights."""
        raise NotImplementedError


def forgotten(strengths: Sequence[float], below: float) -> tuple[int, ...]:
    """Numbers of the rows whose extraction strength is at most `below`."""
    return tuple(i for i, strength in enumerate(strengths) if strength <= below)
