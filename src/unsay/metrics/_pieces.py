"""What the harmonic and arithmetic means over several qualities are made of: one quality on one split each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..data.example import Example
from ._ngrams import entropy
from ._shared import obstacle
from .have import Measurements
from .needs import Generations, Inference, Need, TextSimilarity, TokenStats
from .probability import option_shares, probabilities
from .rouge import recalls
from .truth_ratio import aggregated, log_ratios, ratio_needs, ratio_obstacle

Quality = Literal["probability", "rouge", "truth-ratio", "token-entropy", "cosine", "entailment"]
LACKING = {
    "probability": "answer or wrong options",
    "rouge": "generation",
    "truth-ratio": "perturbed answers",
    "token-entropy": "generation",
    "cosine": "generation to compare",
    "entailment": "generation to judge",
}
"""What a row without a value lacks, by quality."""
_LEAST_OVERLAP = 0.1
"""ROUGE-L recall below which an entailment is not believed (closer-look)."""


@dataclass(frozen=True)
class Piece:
    """One quality of the answers to one split, as values in [0, 1] by row; 1 is what a model has that knows them."""

    quality: Quality
    split: str
    choices: bool = False
    """Probability is the share of the right answer among the options."""
    forgotten: bool = False
    """The split is to be forgotten: knowledge in its truth ratio is 1 − min(R, 1/R) rather than max(0, 1 − R), and an
    entailment goes from the generation to the answer rather than back."""
    max_new_tokens: int = 128
    judge: str = "auto"
    """Of the entailment, as in `Inference`."""
    encoder: str = "auto"
    """Of the cosine, as in `TextSimilarity`."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What has to be measured."""
        if self.quality == "truth-ratio":
            return ratio_needs(self.split)
        if self.quality == "probability":
            plain = TokenStats(self.split)
            return (plain, TokenStats(self.split, answer="perturbed")) if self.choices else (plain,)
        if self.quality == "cosine":
            return (self._similarity,)
        if self.quality == "entailment":
            return (self._inference, self._texts)
        return (self._texts,)

    def obstacle(self, have: Measurements) -> str:
        """Why there are no values, or ""."""
        return ratio_obstacle(have, self.split) if self.quality == "truth-ratio" else obstacle(have, *self.needs)

    def values(self, have: Measurements) -> dict[str, float]:
        """By example id; rows that lack something are absent. Only where there is no obstacle."""
        rows = have.rows(self.split)
        if self.quality == "probability":
            right = have.tokens(TokenStats(self.split))
            if not self.choices:
                return probabilities(right, rows)
            return option_shares(right, have.tokens(TokenStats(self.split, answer="perturbed")), rows)
        if self.quality == "truth-ratio":
            ratios = log_ratios(have, self.split)[0]
            if self.forgotten:
                return {i: 1 - aggregated(x, "forget") for i, x in ratios.items()}
            return {i: aggregated(x, "utility") for i, x in ratios.items()}
        if self.quality == "rouge":
            return recalls(have.texts(self._texts), rows)
        if self.quality == "token-entropy":
            return _means({r.id: [entropy(t) for t in have.texts(self._texts).get(r.id, ())] for r in rows})
        if self.quality == "cosine":
            found = have.cosines(self._similarity)
            return _means({r.id: [max(0.0, float(x)) for x in found.get(r.id, ())] for r in rows})
        return self._entailed(have, rows)

    def _entailed(self, have: Measurements, rows: Sequence[Example]) -> dict[str, float]:
        verdicts, overlap = have.verdicts(self._inference), recalls(have.texts(self._texts), rows)
        return _means(
            {
                row.id: [
                    float(v.label == "entailment" and overlap.get(row.id, 0.0) >= _LEAST_OVERLAP)
                    for v in verdicts.get(row.id, ())
                ]
                for row in rows
            }
        )

    @property
    def _texts(self) -> Generations:
        return Generations(self.split, max_new_tokens=self.max_new_tokens)

    @property
    def _similarity(self) -> TextSimilarity:
        return TextSimilarity(self.split, encoder=self.encoder, max_new_tokens=self.max_new_tokens)

    @property
    def _inference(self) -> Inference:
        premise: Literal["generation", "answer"] = "generation" if self.forgotten else "answer"
        return Inference(self.split, premise=premise, judge=self.judge, max_new_tokens=self.max_new_tokens)


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    return {i: sum(values) / len(values) for i, values in found.items() if values}
