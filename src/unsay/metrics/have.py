"""What a metric is given: numpy arrays and texts by example id, never a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..data.example import Example
from ..errors import NeedError
from .needs import (
    EntitySimilarity,
    FirstToken,
    Generations,
    GradNorms,
    Inference,
    JudgeStats,
    Lens,
    MixedStats,
    Need,
    TextSimilarity,
    TokenStats,
)


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """Teacher-forced statistics of one answer's T tokens, end-of-turn token included."""

    logp: NDArray[np.float32]
    """[T] log-probability of the gold token, nats."""
    rank: NDArray[np.int32]
    """[T] tokens that the model holds strictly more likely than the gold one; 0 means argmax."""
    vocab_mean: NDArray[np.float32]
    """[T] mean over the model's own distribution of log p, nats (Min-K%++ μ)."""
    vocab_std: NDArray[np.float32]
    """[T] its standard deviation (Min-K%++ σ)."""
    text: str = ""
    """The answer as scored; with `ends` as its tokens spell it."""
    ends: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[T] characters of `text` up to the end of each token; [0] where the need does not ask for it."""

    @property
    def mean_nll(self) -> float:
        """Mean negative log-likelihood per token, nats."""
        return float(-np.mean(self.logp, dtype=np.float64))

    @property
    def p(self) -> float:
        """Normalised probability exp(−mean NLL)."""
        return float(np.exp(-self.mean_nll))


@dataclass(frozen=True, slots=True)
class LayerStats:
    """One answer's first token, read off each of L layers at the last position of the prompt; first to last layer.

    L = 0 where the network does not show which part of it is the final norm.
    """

    logp: NDArray[np.float32]
    """[L] its log-probability, nats."""
    rank: NDArray[np.int32]
    """[L] tokens that the layer holds strictly more likely; 0 means argmax."""


@dataclass(frozen=True, slots=True)
class FirstChoice:
    """The unlearning token as the first token of an answer."""

    logp: float
    """Its log-probability, nats; NaN where there is none to look at."""
    rank: int
    """Tokens that the model holds strictly more likely; 0 means argmax, −1 that there is none to look at."""
    why: str = ""
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """One answer under a mix of two models' weights."""

    stats: AnswerStats
    share: float
    """s in [0, 1]: 1 is the model under test, 0 the other one; the same for all answers of a need."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Probabilities of the three NLI labels."""

    entailment: float
    neutral: float
    contradiction: float

    @property
    def label(self) -> str:
        """The likeliest; of equal ones the first in the order of the fields."""
        return max(("entailment", "neutral", "contradiction"), key=lambda name: float(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class EntityTable:
    """The entities of one right answer and of one generation."""

    gold: tuple[str, ...]
    """Of the right answer: G texts."""
    said: tuple[str, ...]
    """Of the generation: P texts."""
    cosine: NDArray[np.float32]
    """[P, G]"""


Tokens = Mapping[str, tuple[AnswerStats, ...]]
Texts = Mapping[str, tuple[str, ...]]
Norms = Mapping[str, tuple[float, ...]]
Layers = Mapping[str, tuple[LayerStats, ...]]
FirstChoices = Mapping[str, tuple[FirstChoice, ...]]
Verdicts = Mapping[str, tuple[Verdict, ...]]
EntityTables = Mapping[str, tuple[EntityTable, ...]]
Mixes = Mapping[str, tuple[Mixed, ...]]
Answers = Tokens | Texts | Norms | Layers | FirstChoices | Verdicts | EntityTables | Mixes


@dataclass(frozen=True)
class Measurements:
    """The answers to a metric's needs, for one subject."""

    splits: Mapping[str, Sequence[Example]]
    answers: Mapping[Need, Answers] = field(default_factory=dict)
    """Keyed by the need as the metric wrote it (``model="subject"`` included)."""
    missing: Mapping[Need, str] = field(default_factory=dict)
    """Needs that could not be answered, with the reason (for example: no retrained model)."""
    remarks: Mapping[Need, str] = field(default_factory=dict)
    """By whom judged needs were answered, for the notes of the scores that read them."""

    def tokens(self, need: TokenStats | JudgeStats) -> Tokens:
        """Token statistics by example id, one entry per answer text."""
        return self._get(need)  # type: ignore[return-value]

    def texts(self, need: Generations) -> Texts:
        """Generated texts by example id."""
        return self._get(need)  # type: ignore[return-value]

    def norms(self, need: GradNorms) -> Norms:
        """Gradient norms by example id, one per answer text."""
        return self._get(need)  # type: ignore[return-value]

    def layers(self, need: Lens) -> Layers:
        """Statistics of the layers by example id, one entry per answer text."""
        return self._get(need)  # type: ignore[return-value]

    def first_choices(self, need: FirstToken) -> FirstChoices:
        """The unlearning token's place by example id, one per question."""
        return self._get(need)  # type: ignore[return-value]

    def verdicts(self, need: Inference) -> Verdicts:
        """NLI verdicts by example id, one per generation."""
        return self._get(need)  # type: ignore[return-value]

    def cosines(self, need: TextSimilarity) -> Norms:
        """Cosine of generation and right answer by example id, one per generation."""
        return self._get(need)  # type: ignore[return-value]

    def entity_tables(self, need: EntitySimilarity) -> EntityTables:
        """Entities and their cosines by example id, one table per generation."""
        return self._get(need)  # type: ignore[return-value]

    def mixes(self, need: MixedStats) -> Mixes:
        """Statistics under the mix by example id, for the rows of `need.split` and `need.kept`."""
        return self._get(need)  # type: ignore[return-value]

    def remark(self, *needs: Need) -> str:
        """By whom `needs` were answered; "" where that goes without saying."""
        return "; ".join(dict.fromkeys(self.remarks[n] for n in needs if n in self.remarks))

    def rows(self, split: str) -> Sequence[Example]:
        """The examples of a split, in order; empty when the benchmark has no such split."""
        return self.splits.get(split, ())

    def why_missing(self, *needs: Need) -> str:
        """The first reason why one of `needs` has no answer, or ""."""
        return next((self.missing[n] for n in needs if n in self.missing), "")

    def _get(self, need: Need) -> Answers:
        if need not in self.answers:
            raise NeedError(
                f"{need} was read but not declared or could not be measured", "list it in the metric's `needs`"
            )
        return self.answers[need]
