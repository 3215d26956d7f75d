"""Δ-score: the tokens of an answer's beginning on which its end depends.

    Δ_i = mean over m replacements of | NLL_θ0(w_{>q} | w_{≤q}, w_i replaced) − NLL_θ0(w_{>q} | w_{≤q}) |,   i ≤ q
    m_t = 1 for the `share` of the tokens with the largest Δ, else 0

Paper    Direct Token Optimization (2025). arXiv:2510.00125; the perturbation test after Stoehr, Gordon, Zhang, Lewis
         (2024). Localizing Paragraph Memorization in Language Models. arXiv:2403.19851
Limits   q·m + 1 sequences are scored for every row; an answer of one token is its own target.
Differs  q, m and the replacement are not given in the paper: half of the answer, 4, and uniform over the vocabulary.
         Tokens after q are never targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError
from ..naming import derive_seed
from ._token_weights import Item, Scorer, TokenWeights, Weights, top_share


@dataclass(frozen=True, kw_only=True)
class Delta(TokenWeights):
    """Keep the tokens that the rest of the answer hangs on."""

    share: float = 0.2
    """Share of the answer's tokens that are targets."""
    prefix: float = 0.5
    """q as a share of the answer."""
    replacements: int = 4
    """m."""

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and 0 < self.prefix < 1 and self.replacements >= 1):
            raise PlanError("share and prefix should lie between 0 and 1, replacements be at least 1")

    def before(self, items: Sequence[Item], scorer: Scorer, seed: int) -> list[Weights]:
        """One sweep over all perturbed rows."""
        jobs, owner = [], []
        for number, item in enumerate(items):
            rng = np.random.default_rng(derive_seed(seed, "delta", item.example.id))
            start, q = item.tokens.answer_start, self._prefix(item)
            if q == 0:
                continue
            suffix = dataclasses.replace(item.tokens, answer_start=start + q)
            jobs.append(suffix)
            owner.append((number, -1))
            for i in range(q):
                for token in rng.choice(scorer.ordinary_tokens, self.replacements):
                    ids = list(item.tokens.input_ids)
                    ids[start + i] = int(token)
                    jobs.append(dataclasses.replace(suffix, input_ids=ids))
                    owner.append((number, i))
        found = dict.fromkeys((n for n, _ in owner), 0.0)
        scores = [np.full(len(item.pieces), -1.0) for item in items]  # tokens after q come last
        for (number, i), nll in zip(owner, scorer.nll(jobs), strict=True):
            total = float(nll.sum())
            if i < 0:
                found[number] = total
                scores[number][: self._prefix(items[number])] = 0.0
            else:
                scores[number][i] += abs(total - found[number]) / self.replacements
        return [top_share(row, self.share) for row in scores]

    def _prefix(self, item: Item) -> int:
        return int(len(item.pieces) * self.prefix)
