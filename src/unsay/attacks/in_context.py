"""Other facts of the same person in the context: does the model recall the rest from them?

    x = (q_1, y_1), …, (q_k, y_k), q      the k pairs are about the entity of q, and none tells the answer to q

Given    subset: k forget or retain rows of the entity that is asked about.
Paper    Shumailov et al. (2024). UnUnlearning: Unlearning is not sufficient for content regulation in advanced
         generative AI. arXiv:2407.00106
Limits   A model that never knew the fact may infer it from the context, and no unlearning can prevent that: only the
         difference from the retrained model says something. The check that the context does not hold the answer goes by
         words; a context from which it follows is not noticed.
Differs  The paper describes the mechanism; the protocol is this project's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar

from ..data.entities import plain_words, stem
from ..data.example import Example, ForgetData, Message
from ..data.novel import secret
from ..errors import MethodError, PlanError
from ..naming import derive_seed
from ._ask import questions
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class InContext:
    """Every forget question after k answered questions about the same entity."""

    k: tuple[int, ...] = (1, 4)
    """Facts in the context; fewer where an entity has no more that keep the answer out."""

    axis: ClassVar[str] = "facts in the context"

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1 or len(set(self.k)) < len(self.k):
            raise PlanError(f"k: should be positive counts, each once, got {self.k!r}", "[1,4]")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One per entry of `k`; `at` is k. Rows without a usable fact of their entity are left out.

        Raises:
            MethodError: no forget row has such a fact.
        """
        rows = questions(data.forget, "in-context")
        facts: dict[str, list[Example]] = {}
        for fact in (*data.forget, *data.retain):
            if fact.entity and fact.question.strip():
                facts.setdefault(fact.entity, []).append(fact)
        usable = {row.id: self._usable(row, facts.get(row.entity, ()), run.seed) for row in rows}
        asked = [row for row in rows if usable[row.id]]
        if not asked:
            raise MethodError(
                "in-context needs two rows of one entity of which neither tells the other's answer",
                "give the rows an `entity`, and several facts of each",
            )
        if len(asked) < len(rows):
            run.note(f"in-context: {len(rows) - len(asked)} of {len(rows)} forget rows have no other fact to be told")
        for k in sorted(self.k):
            yield Probe(f"k-{k}", lm, at=k, splits={"forget": [_told(row, usable[row.id][:k]) for row in asked]})

    def _usable(self, row: Example, facts: Sequence[Example], seed: int) -> list[Example]:
        """Other facts that say no word which only the answer says, in a seeded order."""
        hidden = secret(Example(row.prompt, row.answer))
        if hidden is None:
            return []
        others: Mapping[str, Example] = {fact.id: fact for fact in facts if fact.id != row.id}
        kept = [i for i, fact in others.items() if not hidden.words & _stems(fact)]
        Random(derive_seed(seed, "in-context", row.id)).shuffle(kept)
        return [others[i] for i in kept]


def _stems(fact: Example) -> set[str]:
    return {stem(word) for word in plain_words(f"{fact.question} {fact.answer}")}


def _told(row: Example, facts: Sequence[Example]) -> Example:
    """`row` as the last question of a conversation in which `facts` were asked and answered."""
    turns = [m for fact in facts for m in (Message("user", fact.question), Message("assistant", fact.answer))]
    own = (Message("user", row.prompt),) if isinstance(row.prompt, str) else row.prompt
    lead = 1 if own[0].role == "system" else 0
    return row.with_prompt((*own[:lead], *turns, *own[lead:]))
