"""How often a model was asked: forwards a text, answers a prompt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effort:
    """What measuring one model took; what the store had is not in it."""

    tokens: int = 0
    """Tokens that went through the model, generated ones included."""
    texts: int = 0
    """Distinct texts that were scored or probed."""
    forwards: int = 0
    """Forwards of a text, added up over them."""
    prompts: int = 0
    """Distinct prompts that were answered."""
    answers: int = 0
    """Answers that were generated, drawn ones each by itself."""

    @classmethod
    def of(cls, tokens: int, sweeps: Iterable[Collection[Any]], drafts: Iterable[Collection[Any]]) -> Effort:
        """Count.

        Args:
            tokens: See the field.
            sweeps: The distinct texts of each sweep.
            drafts: What each decoder answered: prompts, or draws, each of which has a ``prompt``.
        """
        sweeps, drafts = [set(texts) for texts in sweeps], [set(draft) for draft in drafts]
        prompts = {getattr(one, "prompt", one) for draft in drafts for one in draft}
        return cls(tokens, len(set().union(*sweeps)), sum(map(len, sweeps)), len(prompts), sum(map(len, drafts)))

    def __str__(self) -> str:
        """In words; empty when the model was not asked."""
        parts = [f"{self.texts:,} texts × {self.forwards / self.texts:.1f} forwards"] if self.texts else []
        parts += [f"{self.prompts:,} prompts × {self.answers / self.prompts:.1f} answers"] if self.prompts else []
        return ", ".join(parts)
