"""What every method is, whatever happens inside: gradients, edits, pipelines, patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..data.example import ForgetData

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@runtime_checkable
class Method(Protocol):
    """A frozen keyword-only dataclass of hyper-parameters with one verb."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """A model that has forgotten `data.forget`; `lm` itself is left as it was."""
        ...
