"""The rows everything works on: one thing to forget, to keep, or to ask. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..naming import digest


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    content: str


Prompt = str | tuple[Message, ...]


def example_id(prompt: Prompt, answer: str) -> str:
    """12 hex digits of blake2b over prompt and answer; the same in every process."""
    turns = prompt if isinstance(prompt, str) else [[m.role, m.content] for m in prompt]
    return digest([turns, answer], 6)


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with the answer to forget, keep or measure.

    An empty prompt means plain text: the whole `answer` carries the loss.
    """

    prompt: Prompt
    answer: str
    id: str = ""
    """Filled from the content when empty."""
    alternatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other answers or questions: paraphrased, perturbed, refusal, paraphrased_question."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the row said; `entity` names whom it is about, `source` where it was read."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", example_id(self.prompt, self.answer))

    @property
    def entity(self) -> str:
        """Whom or what the row is about; rows of one entity are not independent, so intervals are clustered by it."""
        return str(self.meta.get("entity", ""))

    @property
    def question(self) -> str:
        """The prompt as one readable string (the last user turn of a conversation)."""
        if isinstance(self.prompt, str):
            return self.prompt
        return next((m.content for m in reversed(self.prompt) if m.role == "user"), "")

    def answers(self, kind: str = "answer") -> tuple[str, ...]:
        """The texts under `kind`: ``answer`` is the answer itself, anything else a key of `alternatives`."""
        return (self.answer,) if kind == "answer" else tuple(self.alternatives.get(kind, ()))

    def with_prompt(self, prompt: Prompt) -> Example:
        """The same row asked in other words; keeps the id, since scores are compared by it."""
        return replace(self, prompt=prompt)


@dataclass(frozen=True)
class ForgetData:
    """What an unlearning method is given."""

    forget: Sequence[Example] = ()
    retain: Sequence[Example] = ()
    holdout: Sequence[Example] = ()
    """Never trained on: the non-members of membership tests."""
    utility: Sequence[Example] = ()

    def fingerprint(self) -> str:
        """Content hash over all four lists, in order."""
        return digest([[rows_fingerprint(getattr(self, f.name)) for f in fields(self)]])


def rows_fingerprint(rows: Sequence[Example]) -> str:
    """Content hash of a list of rows, in order, alternatives included."""
    return digest([[r.id, r.prompt, r.answer, dict(r.alternatives), r.entity] for r in rows])
