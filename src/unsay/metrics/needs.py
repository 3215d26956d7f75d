"""What a metric asks for. Requests are values: the evaluator merges equal ones and answers each once per model."""

from dataclasses import dataclass


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


Need = TokenStats | Generations
