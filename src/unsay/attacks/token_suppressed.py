"""Tokens banned: a model that says a certain token first, and refuses after it, is not allowed to say that token.

    p'(v | x) = p(v | x) / (1 − Σ_{b ∈ B} p(b | x)) for v ∉ B,   0 for v ∈ B          at every position

Given    0: the tokenizer, which comes with the model.
Paper    Yu, Lin, Zhang et al. (2025). UniErase. arXiv:2505.15674 teaches such a token; banning it is the attack
         that its reviewers asked for
Limits   Whoever serves the model must take a list of banned tokens (`suppress_tokens`, a logit bias), as an open
         checkpoint does. A refusal in ordinary words is not touched.
Differs  Nothing to differ from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..data.example import ForgetData
from ..editing.token import TEXT
from ..errors import MethodError, PlanError
from ..models.decoding import with_decoding
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class TokenSuppressed:
    """The model with tokens that it cannot say."""

    ids: tuple[int, ...] = ()
    """Token ids; () is every control token but those that end an answer, the token of an edit that is in the tokenizer
    without a text, and rows of the embedding that no token of the tokenizer uses."""

    axis: ClassVar[str] = "1: tokens are banned"

    def __post_init__(self) -> None:
        if any(token < 0 for token in self.ids):
            raise PlanError(f"ids: should be token ids, got {list(self.ids)}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One, at 1.

        Raises:
            MethodError: the tokenizer has no token to ban, or an id is beyond the vocabulary.
        """
        size = lm.model.get_input_embeddings().weight.shape[0]
        banned = self.ids or suspects(lm)
        if not banned or max(banned) >= size:
            what = f"the model has {size} tokens, and no id {max(banned)}" if banned else "no token stands out"
            raise MethodError(f"token-suppressed: {what}", "ids=[…] names the tokens to ban")
        yield Probe("banned", with_decoding(lm, banned), at=1)


def suspects(lm: LM) -> tuple[int, ...]:
    """Ids that no ordinary text has and no answer needs."""
    tokenizer, vocabulary = lm.tokenizer, lm.tokenizer.get_vocab()
    control = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {*tokenizer.all_special_ids}
    spare = set(range(lm.model.get_input_embeddings().weight.shape[0])) - set(vocabulary.values())
    edited = {vocabulary[TEXT]} if TEXT in vocabulary else set()
    return tuple(sorted((control | spare | edited) - lm.template.end_ids))
