r"""UniErase: a token is learned that stands for "I don't know", and subjects are edited to lead to it.

    e  = argmin Σ −log p( y | x, [UNL]; E[UNL] = e )       y: a refusal to the forget question x; nothing else moves
    z* = h + argmin_δ −log p( [UNL] | x; h += δ )          h: a layer's output where the subject of x ends
    ΔW = Rᵀ ( K P Kᵀ + λI )⁻¹ K P                          as alpha-edit; R: each layer's share of z* − h

Paper    Yu, Lin, Zhang et al. (2025). UniErase: Unlearning Token as a Universal Erasure Primitive for
         Language Models. arXiv:2505.15674; public code Ymm-cll/UniErase
Limits   Suppression: the first token is redirected. Whoever bans that id, or begins the answer, gets at what is left.
         The keys tell subjects apart, not questions: everything about a subject is refused, questions that were to be
         kept as well. Plain text without questions cannot be edited.
Differs  The token has no text, so that it shows in no answer and nobody can type it; it takes an unused id where there
         is one. It is not taught to come again after the refusal, which made refusals repeat. Instead of noise on the
         weights, it is learned for some more steps after the edit. A guard keeps it out of retain answers. The null
         space is a share of the energy, λ is in units of the keys, rows of one subject share a value. A model that has
         the token already keeps it as it is. The public constants are in the preset people-small/unierase-paper.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.generic import generic_rows
from ..editing.kept import FOLDER, kept
from ..editing.solve import held, whiten
from ..editing.subjects import Request
from ..editing.token import EARLIER, TEXT, Learning, Pair, Rows, begin, learn, put, reserve, rows_of
from ..editing.value import first_tokens
from ..naming import derive_seed, digest
from ..training.full_gradient import sample
from .alpha_edit import AlphaEdit

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..models.lm import LM
    from ..runs.run import Run

_GUARDED = 12
"""Retain rows, and as many bundled ones, that the token is kept out of."""


@dataclass(frozen=True, kw_only=True)
class UniErase(AlphaEdit):
    """Learn the token, edit to it, learn it again."""

    token: Learning = field(default_factory=lambda: Learning(steps=40))
    """How the token is learned before the edit."""
    again: Learning = field(default_factory=lambda: Learning(steps=12, lr=1e-2, aim=1.0))
    """How it is learned on the edited weights; 0 steps leave it as it was."""
    projector: bool = True
    """Edit in the null space; false edits as memit does."""

    def ready(
        self, subject: LM, told: Mapping[str, Example], data: ForgetData, run: Run
    ) -> tuple[LM, Callable[[Request], tuple[int, ...]]]:
        """Find an id, learn its embedding, and aim at it."""
        subject, token, where = reserve(subject)
        run.note(f"the token of the edit is id {token}, {where}; it has no text")
        run.write_json(f"{FOLDER}/token.json", {"id": token, "found": where})
        if where != EARLIER:  # which earlier edits lead to: it stays what it is
            words = [word for pair in self._pairs(subject, told) for word in pair.refusal]
            self._learn("token", subject, begin(subject.model, words), self.token, told, data, run)
        return subject, lambda request: (token,)

    def change(self, keys: Tensor, residuals: Tensor, moment: Tensor, earlier: Tensor | None) -> Tensor:
        """With or without the projector."""
        if self.projector:
            return super().change(keys, residuals, moment, earlier)
        return held(keys, residuals, earlier, self.ridge, lambda k: whiten(k, moment))

    def settle(self, subject: LM, told: Mapping[str, Example], data: ForgetData, run: Run) -> LM:
        """Learn the token again, now that the weights have moved."""
        token = subject.tokenizer.get_vocab()[TEXT]
        found = json.loads(run.path(FOLDER, "token.json").read_text(encoding="utf-8"))["found"]
        if self.again.steps and found != EARLIER:
            self._learn("token-again", subject, rows_of(subject.model, token), self.again, told, data, run)
        asked = [(pair.prompt, token) for pair in self._pairs(subject, told)]
        other = [(tuple(subject.template.encode_prompt(row.prompt)), token) for row in data.retain if row.question]
        rates = {"forget": first_tokens(subject, asked, run), "retain": first_tokens(subject, other, run)}
        run.write_json(f"{FOLDER}/token.json", {"id": token, "found": found, "first_token": rates})
        run.log(first_token=rates)
        return subject

    def _learn(
        self,
        name: str,
        subject: LM,
        start: Rows,
        how: Learning,
        told: Mapping[str, Example],
        data: ForgetData,
        run: Run,
    ) -> None:
        """Learn the token's rows and write them into `subject`; an earlier start of the run may have learned them."""
        token = subject.tokenizer.get_vocab()[TEXT]
        retain = sample(data.retain, _GUARDED, derive_seed(run.seed, "guarded"))
        rows = [*retain, *sample(generic_rows(), _GUARDED, derive_seed(run.seed, "guarded"))]
        encoded = subject.template.attempt([(row.prompt, row.answer) for row in rows])
        guarded = [tuple(row.input_ids[: run.plan.data.max_length]) for row in encoded if not isinstance(row, str)]

        def made() -> dict[str, Tensor]:
            found = learn(subject, token, start, self._pairs(subject, told), guarded, how, run)
            return {"embedding": found.embedding} | ({} if found.head is None else {"head": found.head})

        key = digest([subject.fingerprint(), data.fingerprint(), how, run.seed])
        found = kept(run, name, key, made)
        put(subject.model, token, Rows(found["embedding"], found.get("head")))

    def _pairs(self, subject: LM, told: Mapping[str, Example]) -> list[Pair]:
        """The forget questions with their refusals, as ids, in every form that is edited."""
        asked = [(row.prompt, row.answer) for row in told.values() if row.question]
        plain = self.plain(subject)
        encoded = [row for form in (subject.template, plain) if form is not None for row in form.encode_many(asked)]
        return [Pair(tuple(row.input_ids[: row.answer_start]), tuple(row.answer_ids)) for row in encoded]
