"""Early-out: a row that is forgotten leaves the training, and comes back when it resurfaces.

    row x is left out while ES(x; θ) ≤ below;      the training ends when no row is left

Paper    Tang et al. (2024). Learn while Unlearn: An Iterative Unlearning Framework for Generative Language Models
         (ICU). arXiv:2407.20271
Limits   What counts as forgotten is judged by the question as it stands, not by its paraphrases.
Differs  Extraction strength takes the place of BERTScore and BLEU of a continuation: one forward pass, no second model.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..combiners._combiner import State, Watch
from ..errors import PlanError
from ._stop import Stop, Verdict, forgotten


@dataclass(frozen=True, kw_only=True)
class EarlyOut(Stop):
    """Train on the rows that are still known."""

    below: float = 0.1
    """Extraction strength at which a row counts as forgotten."""
    epochs: float = 1.0
    """Epochs between looks."""

    def __post_init__(self) -> None:
        if self.epochs <= 0:
            raise PlanError(f"epochs: should be positive, got {self.epochs!r}")

    @property
    def every(self) -> float:
        """See `epochs`."""
        return self.epochs

    def look(self, watch: Watch, state: State) -> Verdict:
        """Which rows rest."""
        strengths = watch.extraction_strength("forget")
        resting = forgotten(strengths, self.below)
        done = len(resting) == len(strengths)
        return Verdict(
            reason=f"every forget row has an extraction strength of at most {self.below:g}" if done else "",
            resting=() if done else resting,
            seen={"resting": len(resting)},
        )
