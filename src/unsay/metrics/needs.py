"""What a metric asks for. Requests are values: the evaluator merges equal ones and answers each once per model."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TokenStats:
    """Teacher-forced statistics of every answer token (one forward serves all metrics that share the rows)."""

    split: str
    answer: str = "answer"
    """Which answers are scored: ``answer`` or a key of `Example.alternatives` (paraphrased, perturbed, …)."""
    prompt: str = "prompt"
    """Which question is asked: ``prompt`` or a key of `Example.alternatives` (paraphrased_question)."""
    model: str = "subject"
    """``subject`` is whichever model is being scored; any other value names a model of the run (retrained, before)."""


@dataclass(frozen=True)
class Generations:
    """Greedy continuations of the prompt."""

    split: str
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"


@dataclass(frozen=True)
class GradNorms:
    """Euclidean norm of the gradient of each answer's mean token loss over all weights: one backward per text."""

    split: str
    answer: str = "answer"
    prompt: str = "prompt"
    model: str = "subject"


@dataclass(frozen=True)
class Lens:
    """What every layer, read through the final norm and the head, says of the answer's first token."""

    split: str
    answer: str = "answer"
    prompt: str = "prompt"
    model: str = "subject"


@dataclass(frozen=True)
class Inference:
    """What natural language inference (NLI) makes of each generation and the right answer."""

    split: str
    premise: Literal["generation", "answer"] = "generation"
    """Which of the two is the premise; the other one is the hypothesis."""
    judge: str = "auto"
    """Folder or hub id of a sequence classifier whose labels are entailment, neutral and contradiction; ``lexical``
    for rules without a model; ``auto`` for the usual classifier where it can be had, else ``lexical``."""
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"

    @property
    def generations(self) -> Generations:
        """The texts that are judged."""
        return _texts_of(self)


@dataclass(frozen=True)
class TextSimilarity:
    """Cosine of the sentence embeddings of each generation and the right answer."""

    split: str
    encoder: str = "auto"
    """Folder or hub id of a sentence encoder; ``lexical`` for shared words without a model; ``auto`` for the usual
    encoder where it can be had, else ``lexical``."""
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"

    @property
    def generations(self) -> Generations:
        """The texts that are compared."""
        return _texts_of(self)


@dataclass(frozen=True)
class EntitySimilarity:
    """Cosines between the entities of each generation and those of the right answer."""

    split: str
    encoder: str = "auto"
    """As in `TextSimilarity`."""
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"

    @property
    def generations(self) -> Generations:
        """The texts whose entities are compared."""
        return _texts_of(self)


@dataclass(frozen=True)
class JudgeStats:
    """`TokenStats` of each generation under a fixed reading model, after the question as plain text."""

    split: str
    judge: str = "smollm2-135m"
    """Alias, folder or hub id of a causal language model; the same one for everything that is to be compared."""
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"

    @property
    def generations(self) -> Generations:
        """The texts that are read."""
        return _texts_of(self)


Judged = Inference | TextSimilarity | EntitySimilarity | JudgeStats
"""Needs about what the model has generated: answered after their `generations`, by other models or by rules."""

Need = TokenStats | Generations | GradNorms | Lens | Judged


def _texts_of(need: Judged) -> Generations:
    return Generations(need.split, need.max_new_tokens, need.prompt, need.model)
