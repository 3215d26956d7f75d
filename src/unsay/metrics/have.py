"""What a metric is given: numpy arrays and texts by example id, never a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..data.example import Example
from ..errors import NeedError
from .needs import Generations, Need, TokenStats


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
    """The answer as scored."""

    @property
    def mean_nll(self) -> float:
        """Mean negative log-likelihood per token, nats."""
        return float(-np.mean(self.logp, dtype=np.float64))

    @property
    def p(self) -> float:
        """Normalised probability exp(−mean NLL)."""
        return float(np.exp(-self.mean_nll))


Tokens = Mapping[str, tuple[AnswerStats, ...]]
Texts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Measurements:
    """The answers to a metric's needs, for one subject."""

    splits: Mapping[str, Sequence[Example]]
    answers: Mapping[Need, Tokens | Texts] = field(default_factory=dict)
    """Keyed by the need as the metric wrote it (``model="subject"`` included)."""
    missing: Mapping[Need, str] = field(default_factory=dict)
    """Needs that could not be answered, with the reason (for example: no retrained model)."""

    def tokens(self, need: TokenStats) -> Tokens:
        """Token statistics by example id, one entry per answer text."""
        return self._get(need)  # type: ignore[return-value]

    def texts(self, need: Generations) -> Texts:
        """Generated texts by example id."""
        return self._get(need)  # type: ignore[return-value]

    def rows(self, split: str) -> Sequence[Example]:
        """The examples of a split, in order; empty when the benchmark has no such split."""
        return self.splits.get(split, ())

    def why_missing(self, *needs: Need) -> str:
        """The first reason why one of `needs` has no answer, or ""."""
        return next((self.missing[n] for n in needs if n in self.missing), "")

    def _get(self, need: Need) -> Tokens | Texts:
        if need not in self.answers:
            raise NeedError(
                f"{need} was read but not declared or could not be measured", "list it in the metric's `needs`"
            )
        return self.answers[need]
