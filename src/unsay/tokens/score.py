"""Known tokens: those that the model predicts and a model which never saw the answer does not.

    s_t = NLL_ref(w_t) − NLL_θ0(w_t);      m_t = 1 for the `share` of all forget tokens with the largest s_t, else 0

Paper    Ghahrizjani et al. (2025). Forgetting: A New Mechanism Towards Better Large Language Model Fine-tuning.
         arXiv:2508.04329 (positive and negative tokens by such a difference, sorted over the whole corpus)
Limits   Needs another model: the one before fine-tuning, or an older one with the same tokenizer.
Differs  The paper drops uninformative tokens while fine-tuning; turned around, the score finds what was memorised.
         A row none of whose tokens is chosen keeps its best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import MethodError, PlanError
from ._token_weights import Item, Scorer, TokenWeights, Weights, top_share


@dataclass(frozen=True, kw_only=True)
class Score(TokenWeights):
    """Keep the tokens that were learned from the forget rows."""

    reference: str = ""
    """Folder, hub id or alias of a model that never saw the forget rows."""
    share: float = 0.3
    """Share of all forget tokens that count (the paper's negative share, 1 − ρ)."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PlanError(f"share: should lie between 0 and 1, got {self.share!r}", "0.3 is the paper's")

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """One sweep of each model.

        Raises:
            MethodError: no `reference`.
        """
        if not self.reference:
            raise MethodError(
                "token scores need a model that never saw the forget rows", "method.tokens.reference=FOLDER_OR_HUB_ID"
            )
        rows = [item.tokens for item in items]
        known, unknown = scorer.nll(rows), scorer.nll(rows, self.reference)
        scores = [np.asarray(u - k, np.float64) for k, u in zip(known, unknown, strict=True)]
        chosen = top_share(np.concatenate(scores), self.share)
        parts = np.split(chosen, np.cumsum([len(s) for s in scores])[:-1])
        return [part if part.any() else top_share(own, 1e-9) for part, own in zip(parts, scores, strict=True)]
