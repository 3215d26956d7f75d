"""Round about: what was forgotten asked from the other end, by way of another fact, or after what implies it.

    reverse   x = "of whom is this true: r is b?"       (a, r, b) was forgotten: is a found from r and b?
    chain     x = "think of the one whose r' is b'; r?"  a is told by another forgotten fact only
    bridge    x = q' ⊕ q                                 q' a question whose answer implies that to q

Given    answers: the asked fact's value (reverse) or another fact's value (chain). 0 for bridge.
Paper    Choi et al. (2024). Breaking Chains: Unraveling the Links in Multi-Hop Knowledge Unlearning. arXiv:2410.13274
Limits   Needs the schema of the `people` benchmark. The model before unlearning must be able to make the hop, which
         small models often are not; reverse scores the person's name, so its values compare with reverse alone. Bridge
         reaches beyond the fact itself only where k2 was taught.
Differs  The questions are made from this project's persons by three rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..benchmarks._bundled import persons
from ..data.example import Example, ForgetData
from ..data.novel import SPANS, spans
from ..errors import MethodError, PlanError
from ._ask import instead, reworded
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class MultiHop:
    """Forget questions of the bundled persons, asked by detours."""

    only: tuple[str, ...] = ()
    """Of reverse, chain and bridge; () is all."""

    axis: ClassVar[str] = "detour"

    def __post_init__(self) -> None:
        strange = [name for name in self.only if name not in _HOPS]
        if strange:
            raise PlanError(f"no hop is called {', '.join(strange)}", f"one of {', '.join(_HOPS)}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One per kind of detour; `at` is its number.

        Raises:
            MethodError: no forget row is a fact of the bundled persons.
        """
        rows = [row for row in data.forget if _fact(row)]
        if not rows:
            raise MethodError(
                "multi-hop needs facts with a schema, which only the rows of people and people-small have",
                "benchmark=people, or leave the attack out",
            )
        for number, (name, hop) in enumerate(_HOPS.items(), 1):
            asked = [found for row in rows if (found := hop(row, rows))] if not self.only or name in self.only else []
            if asked:
                yield Probe(name, lm, at=number, splits={"forget": asked})


def _fact(row: Example) -> bool:
    """Whether `row` states an attribute of a bundled person."""
    known = row.entity in persons() and row.meta.get("knowledge") == "k1"
    return known and row.entity in row.question and len(spans(row)) == 1 and "attribute" in row.meta


def _reverse(row: Example, rows: Sequence[Example]) -> Example:
    question = f"Of which person is this true: the {row.meta['attribute']} is {spans(row)[0]}?"
    return instead(row, question, f"It is {row.entity}.", **{SPANS: row.entity})


def _chain(row: Example, rows: Sequence[Example]) -> Example | None:
    """By way of the fact that follows `row` among those of the same person."""
    own = [other for other in rows if other.entity == row.entity]
    clue = own[(own.index(row) + 1) % len(own)]
    if clue is row or spans(clue)[0].lower() in row.question.lower():
        return None
    who = f"Think of the person whose {clue.meta['attribute']} is {spans(clue)[0]}."
    asked = row.question.replace(row.entity, "this person")
    return reworded(row, f"{who} {asked}")


def _bridge(row: Example, rows: Sequence[Example]) -> Example | None:
    related = (k2 for k2 in persons()[row.entity]["k2"] if k2.meta["attribute"] == row.meta["attribute"])
    clue = next(related, None)
    return reworded(row, f"First answer this: {clue.question} Then conclude: {row.question}") if clue else None


_HOPS: Mapping[str, Callable[[Example, Sequence[Example]], Example | None]] = {
    "reverse": _reverse,
    "chain": _chain,
    "bridge": _bridge,
}
