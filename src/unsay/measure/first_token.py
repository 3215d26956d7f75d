"""Does an answer begin with the unlearning token? One forward over the questions; none for models without the token."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import torch

from ..data.batch import groups
from ..data.template import Template
from ..errors import DataError
from ..metrics.have import FirstChoice
from ..models.layers import padded
from ..models.lm import LM
from ..models.unlearning_token import unlearning_token
from .texts import Ask
from .token_stats import MICRO_TOKENS
from .vocabulary import vocabulary_stats
from .working import Precision, Working, working

VERSION = 1
"""Part of every store key; raise it when the same model and questions would come out as other numbers."""


class FirstTokenSweep:
    """`FirstChoice` of a list of questions.

    Args:
        lm: The model.
        asks: Questions, each with the form it is put in (`FirstToken.form`) for its answer.
        skip: Those of them that have been asked before.
        max_length: Tokens that a question may have.
        micro_tokens: Tokens (padding included) of one forward.

    Raises:
        DataError: a question cannot be encoded or is too long.
    """

    def __init__(
        self,
        lm: LM,
        asks: Sequence[Ask],
        *,
        skip: Collection[Ask] = (),
        max_length: int = 1024,
        micro_tokens: int = MICRO_TOKENS,
    ) -> None:
        self._lm, self._micro_tokens = lm, micro_tokens
        self.cut: frozenset[Ask] = frozenset()
        self._token = unlearning_token(lm)
        self._without: dict[Ask, FirstChoice] = {}
        self._rows: list[tuple[Ask, list[int]]] = []
        forms = {form: _template(lm, form) for form in {ask.answer for ask in asks}}
        for ask in dict.fromkeys(asks):
            template = forms[ask.answer]
            if ask in skip:
                continue
            if self._token is None or template is None:
                why = "the model has no unlearning token" if self._token is None else "the model has no chat template"
                self._without[ask] = FirstChoice(math.nan, -1, why)
            else:
                self._rows.append((ask, template.encode_prompt(ask.prompt)))
        if long := sum(len(ids) > max_length for _, ids in self._rows):
            raise DataError(
                f"{long} of {len(self._rows)} prompts are longer than {max_length} tokens",
                "shorten them or raise data.max_length",
            )
        self.tokens = sum(len(ids) for _, ids in self._rows)

    def run(self, precision: Precision = "fp32") -> Iterator[tuple[dict[Ask, FirstChoice], int]]:
        """One batch after the other; every question appears in exactly one."""
        if self._without:
            yield self._without, 0
        if self._rows:
            with working(self._lm, precision) as model:
                for group in groups([len(ids) for _, ids in self._rows], self._micro_tokens):
                    yield self._read(model, group)

    @torch.inference_mode()
    def _read(self, model: Working, group: Sequence[int]) -> tuple[dict[Ask, FirstChoice], int]:
        rows, device = [self._rows[i] for i in group], self._lm.device
        lengths = torch.tensor([len(ids) for _, ids in rows])
        ids = padded([ids for _, ids in rows], self._lm.template.pad_id).to(device)
        # Padding on the right only, where causal attention needs no mask.
        states = model.states(input_ids=ids, use_cache=False)
        each = torch.arange(len(rows), device=device)
        last = states[each, (lengths - 1).to(device)]
        found = vocabulary_stats(last, model.logits, each, torch.full_like(each, int(self._token or 0)))
        choices = zip(found.logp.tolist(), found.rank.tolist(), strict=True)
        return {ask: FirstChoice(*choice) for (ask, _), choice in zip(rows, choices, strict=True)}, int(lengths.sum())


def _template(lm: LM, form: str) -> Template | None:
    """What puts a question in a form; None where the tokenizer cannot."""
    kind = {"chat": "chat", "raw": "plain"}.get(form, lm.template.kind)
    if kind == lm.template.kind:
        return lm.template
    if kind == "chat" and not lm.tokenizer.chat_template:
        return None
    made = Template.of(lm.tokenizer, "chat" if kind == "chat" else "plain")
    return made.guarded(lm.template.guard) if lm.template.guard else made
