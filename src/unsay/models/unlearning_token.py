"""The token that an edit may teach a model to begin its answers with where it should not know them (`unierase`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lm import LM

TEXT = ""
"""The token's text. No text contains it as a token, so that nobody can type it; and it shows in no decoded text."""


def unlearning_token(lm: LM) -> int | None:
    """Its id, or None for a model that was taught none."""
    found: int | None = lm.tokenizer.get_vocab().get(TEXT)
    return found
