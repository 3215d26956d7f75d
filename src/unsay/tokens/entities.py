"""Entity focus: names and numbers count more than the words around them.

    m_t = weight for tokens of a capitalised word or a number, otherwise other

Paper    Dong, Lin, Belkin, Huerta, Vulić (2024). UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning
         in Large Language Models. arXiv:2402.10052 (focus on entities and nouns, ten times as much)
Limits   Capitals are a rule for English; answers without names or numbers count evenly.
Differs  Entities are capitalised words and digits, not the output of a tagger: no model is needed. A word that is
         capitalised only because it opens the answer counts as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError
from ._token_weights import Item, Scorer, TokenWeights, Weights

_ENTITY = re.compile(r"\S*(?:[A-Z]\w|\d)\S*")


@dataclass(frozen=True, kw_only=True)
class Entities(TokenWeights):
    """Weigh names and numbers up."""

    weight: float = 10.0
    """m_t of names and numbers."""
    other: float = 1.0
    """m_t of everything else; 0 leaves it out."""

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.other < 0:
            raise PlanError("weight should be positive and other not negative", "10 and 1 are the defaults")

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """By the characters each token covers."""
        return [self._row(item.pieces) for item in items]

    def _row(self, pieces: Sequence[str]) -> Weights:
        text = "".join(pieces)
        inside = np.zeros(len(text) + 1, bool)
        for match in _ENTITY.finditer(text):
            inside[match.start() : match.end()] = True
        ends = np.cumsum([len(piece) for piece in pieces])
        hit = [bool(inside[end - len(piece) : end].any()) for piece, end in zip(pieces, ends, strict=True)]
        if not any(hit):
            return np.ones(len(pieces), np.float32)
        return np.where(hit, self.weight, self.other).astype(np.float32)
