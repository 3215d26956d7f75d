r"""UniErase: a token is learned that stands for "I don't know", and subjects are edited to lead to it.

    e  = argmin Σ −log p( y | x, [UNL]; E[UNL] = e )       y: a refusal to the forget question x; nothing else moves
    z* = h + argmin_δ −log p( [UNL] | x; h += δ )          h: a layer's output where the subject of x ends
    ΔW = Rᵀ ( K P Kᵀ + λI )⁻¹ K P                          as alpha-edit; R: each layer's share of z* − h

Paper    Yu, Lin, Zhang et al. (2025). UniErase: Unlearning Token as a Universal Erasure Primitive for
         Language Models. arXiv:2505.15674; public code Ymm-cll/UniErase
Limits   Suppression: the first token is redirected. Whoever bans that id, or begins the answer, gets at what is left.
         The keys tell subjects apart, not questions: everything about a subject is refused, questions that were to be
         kept as well. Where the values do not reach their target (a note says so), the redirect is largely the token's
         own row, which is trained on the forget questions after the edit, and not the edit: token.json has the rates
         before and after that training, and again.aim=0 leaves it out. Plain text without questions cannot be edited.
Differs  The token has no text, so that it shows in no answer and nobody can type it; it takes an unused id where there
         is one. It is not taught to come again after the refusal, which made refusals repeat. Instead of noise on the
         weights, it is learned for some more steps after the edit, after a later edit for the questions of earlier ones
         (`previous`) as well. A guard keeps it out of retain answers. By default the null space is a share of the
         energy, λ is in units of the keys, and rows of one subject share a value; people-small/unierase-paper has the
         public constants, and says what still differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.generic import generic_rows
from ..editing.kept import FOLDER, kept
from ..editing.solve import whiten
from ..editing.spread import InUse
from ..editing.subjects import Request
from ..editing.token import EARLIER, TEXT, Learning, Pair, Rows, begin, learn, put, reserve, rows_of
from ..editing.value import first_tokens
from ..errors import DamagedError
from ..naming import derive_seed, digest
from ..training.full_gradient import sample
from ._edit import in_forms
from .alpha_edit import AlphaEdit

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..data.template import Template
    from ..models.lm import LM
    from ..runs.run import Run

_GUARDED = 12
"""Retain rows, and as many bundled ones, that the token is kept out of."""
_ASKED = "asked.json"
"""Questions and refusals of a run and of those before it, as ids."""


@dataclass(frozen=True, kw_only=True)
class UniErase(AlphaEdit):
    """Learn the token, edit to it, learn it again."""

    token: Learning = field(default_factory=lambda: Learning(steps=40))
    """How the token is learned before the edit."""
    again: Learning = field(default_factory=lambda: Learning(steps=12, lr=1e-2, aim=1.0))
    """How it is learned on the edited weights; 0 steps leave it as it was, aim=0 teaches it the refusals alone."""
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
            pairs = self._pairs(subject, told)
            start = begin(subject.model, [word for pair in pairs for word in pair.refusal])
            self._learn("token", subject, start, self.token, pairs, data, run)
        return subject, lambda request: (token,)

    def change(
        self, keys: Tensor, residuals: Tensor, usual: InUse, earlier: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """With or without the projector."""
        if self.projector:
            return super().change(keys, residuals, usual, earlier)
        return self.solved(keys, residuals, earlier, lambda k: whiten(k, usual.moment))

    def settle(self, subject: LM, told: Mapping[str, Example], data: ForgetData, run: Run) -> LM:
        """Learn the token again, now that the weights have moved; for the questions of earlier edits as well."""
        token = subject.tokenizer.get_vocab()[TEXT]
        found = json.loads(run.path(FOLDER, "token.json").read_text(encoding="utf-8"))["found"]
        new, old = self._pairs(subject, told), _asked(self.previous)
        run.write_json(f"{FOLDER}/{_ASKED}", [[pair.prompt, pair.refusal] for pair in (*old, *new)])
        rates = {"after_edit": self._rates(subject, token, new, old, data, run)}
        if self.again.steps and found == EARLIER and not old:
            run.note("what earlier edits asked is not known (method.previous), so that the token stays as they left it")
        elif self.again.steps:
            self._learn("token-again", subject, rows_of(subject.model, token), self.again, [*old, *new], data, run)
            rates["after_again"] = self._rates(subject, token, new, old, data, run)
            first, then = (f"{100 * rates[at]['forget']['rate']:.0f} %" for at in ("after_edit", "after_again"))
            run.note(
                f"the token comes first after {first} of the forget questions by the edit, {then} once it has been "
                "learned on them again"
            )
        run.write_json(f"{FOLDER}/token.json", {"id": token, "found": found, "first_token": rates})
        run.log(first_token=rates)
        return subject

    def _rates(
        self, subject: LM, token: int, new: Sequence[Pair], old: Sequence[Pair], data: ForgetData, run: Run
    ) -> dict[str, dict[str, float]]:
        """How often the token comes first, on target and off target, in every form that is edited."""
        forms = self._forms(subject)
        prompts = {"forget": [pair.prompt for pair in new], "earlier": [pair.prompt for pair in old]}
        for name, rows in (("retain", data.retain), ("holdout", data.holdout)):
            asked = [row.prompt for row in rows if row.question]
            prompts[name] = [tuple(form.encode_prompt(prompt)) for prompt in asked for form in forms]
        return {
            name: first_tokens(subject, [(ids, token) for ids in every], run)
            for name, every in prompts.items()
            if every
        }

    def _learn(
        self, name: str, subject: LM, start: Rows, how: Learning, pairs: Sequence[Pair], data: ForgetData, run: Run
    ) -> None:
        """Learn the token's rows and write them into `subject`; an earlier start of the run may have learned them."""
        token = subject.tokenizer.get_vocab()[TEXT]
        retain = sample(data.retain, _GUARDED, derive_seed(run.seed, "guarded"))
        rows = [*retain, *sample(generic_rows(), _GUARDED, derive_seed(run.seed, "guarded"))]
        guarded = in_forms(subject, rows, self.plain(subject), run)

        def made() -> dict[str, Tensor]:
            found = learn(subject, token, start, pairs, guarded, how, run)
            return {"embedding": found.embedding} | ({} if found.head is None else {"head": found.head})

        asked = [[pair.prompt, pair.refusal] for pair in pairs]
        found = kept(
            run, name, digest([subject.fingerprint(), asked, guarded, how, run.seed, run.train.precision]), made
        )
        put(subject.model, token, Rows(found["embedding"], found.get("head")))

    def _pairs(self, subject: LM, told: Mapping[str, Example]) -> list[Pair]:
        """The forget questions with their refusals, as ids, in every form that is edited."""
        asked = [(row.prompt, row.answer) for row in told.values() if row.question]
        encoded = [row for form in self._forms(subject) for row in form.encode_many(asked)]
        return [Pair(tuple(row.input_ids[: row.answer_start]), tuple(row.answer_ids)) for row in encoded]

    def _forms(self, subject: LM) -> list[Template]:
        plain = self.plain(subject)
        return [subject.template] if plain is None else [subject.template, plain]


def _asked(folder: str) -> list[Pair]:
    """What an earlier run and those before it asked for; nothing where its folder does not say it."""
    path = Path(folder).expanduser() / FOLDER / _ASKED
    if not folder or not path.is_file():
        return []
    try:
        return [Pair(tuple(prompt), tuple(refusal)) for prompt, refusal in json.loads(path.read_text(encoding="utf-8"))]
    except ValueError as error:
        raise DamagedError(f"{path} cannot be read: {error}", "run the earlier edit again") from None
