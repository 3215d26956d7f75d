"""What a metric asks for. Requests are values: the evaluator merges equal ones and answers each once per model."""

from dataclasses import dataclass
from typing import Literal

from ..errors import PlanError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How continuations are drawn where they are not greedy; the defaults are ReLearn's (arXiv:2502.11190).

    Temperature first, then the likeliest `top_k` tokens, then the fewest of those that hold `top_p` of what is left.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 5
    """0 is the whole vocabulary."""
    runs: int = 3
    """Continuations of each prompt."""
    retries: int = 3
    """How often an empty continuation is drawn anew."""
    seed: int = 0
    """Every continuation has its own random numbers, by seed, run and prompt."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise PlanError(f"sampling.temperature is {self.temperature}, expected above 0", "sampling.temperature=0.7")
        if not 0 < self.top_p <= 1:
            raise PlanError(f"sampling.top_p is {self.top_p}, expected a share in (0, 1]", "sampling.top_p=0.9")
        for name, least in (("top_k", 0), ("runs", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise PlanError(
                    f"sampling.{name} is {getattr(self, name)}, expected at least {least}", f"sampling.{name}={least}"
                )


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
    ends: bool = False
    """Say also where in the answer's text each token ends; texts that are asked with and without share the forward."""


@dataclass(frozen=True)
class Generations:
    """Continuations of the prompt: one, or with `sampling` as many as it has runs; runs outermost, prompts within."""

    split: str
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"
    sampling: Sampling | None = None
    """None is greedy."""


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
class FirstToken:
    """Where the model's unlearning token stands among the first tokens of its answer."""

    split: str
    prompt: str = "prompt"
    form: Literal["model", "chat", "raw"] = "model"
    """How the question is put: in the model's template, its tokenizer's chat template, or as plain text."""
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
    sampling: Sampling | None = None

    @property
    def generations(self) -> Generations:
        """The texts that are judged."""
        return _texts_of(self)


@dataclass(frozen=True)
class TextSimilarity:
    """Cosine of the sentence embeddings of each generation and the right answer."""

    split: str
    encoder: str = "auto"
    """Folder or hub id of a sentence encoder, or ``all-minilm-l6-v2``; ``lexical`` for shared words without a model;
    ``auto`` for the usual encoder where it can be had, else ``lexical``."""
    max_new_tokens: int = 128
    prompt: str = "prompt"
    model: str = "subject"
    sampling: Sampling | None = None

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
    sampling: Sampling | None = None

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
    sampling: Sampling | None = None

    @property
    def generations(self) -> Generations:
        """The texts that are read."""
        return _texts_of(self)


@dataclass(frozen=True)
class MixedStats:
    """`TokenStats` under a mix of the model's weights with another's, as near to the model as the rows to keep allow.

    θ(s) = θ_towards + s·(θ_model − θ_towards) with the largest s ≤ 1 at which the extraction strength of the rows to
    keep is at least `keep` times what it is under the other model.
    """

    split: str
    kept: str = "retain"
    """Split of the rows to keep; their statistics under the mix are part of the answer."""
    keep: float = 0.95
    towards: str = "before"
    """The other model."""
    answer: str = "answer"
    prompt: str = "prompt"
    model: str = "subject"


Judged = Inference | TextSimilarity | EntitySimilarity | JudgeStats
"""Needs about what the model has generated: answered after their `generations`, by other models or by rules."""

Need = TokenStats | Generations | GradNorms | Lens | FirstToken | MixedStats | Judged


def _texts_of(need: Judged) -> Generations:
    return Generations(need.split, need.max_new_tokens, need.prompt, need.model, need.sampling)
