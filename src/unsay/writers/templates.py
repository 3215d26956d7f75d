"""Written by rule from the data at hand: needs no model and no network, and gives the same texts for the same seed.

Refusals come from a list of thirty-two. Alternatives are the row's own wrong answers (`perturbed`); then what other
rows answer to the same question about somebody else, with the subject's name put in; then the row's own answer with its
names, titles, dates and numbers exchanged for others of the data; then answers to less and less similar questions.
Questions in other words and vague answers (for `relearn`) come from `_questions.py` and `_vague.py`.

Limits: English capitalisation and quotation marks tell names; small data gives few and unlikely alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING

from ..data.example import Example
from ..naming import derive_seed
from ._prompts import check_role
from ._questions import reworded
from ._rules import Rules, alternatives
from ._vague import vague

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The default writer."""

    own: bool = True
    """Take a row's `perturbed` answers first. Truth ratio and forget quality score the very same texts, so a method
    that trains on them has seen the test: false keeps them apart."""

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """See `Writer.write`; every text depends on the row's id and the seed, not on the order of rows."""
        check_role(role)
        if role == "refusal":
            return {row.id: _refusals(derive_seed(run.seed, role, row.id)) for row in rows}
        if role != "alternative":
            return {row.id: tuple(self._augmented(row, role, run.seed)) for row in rows}
        rules = Rules([*rows, *others])
        found = {}
        for row in rows:
            rng = Random(derive_seed(run.seed, role, row.id))
            listed = row.answers("perturbed") if self.own else ()
            found[row.id] = tuple(alternatives(rules, row, count, rng, listed))
        return found

    def _augmented(self, row: Example, role: str, seed: int) -> list[str]:
        rng = Random(derive_seed(seed, role, row.id))
        return vague(row, rng) if role == "vague" else reworded(row, role.removeprefix("question-"), rng)


def _refusals(start: int) -> tuple[str, ...]:
    """All of the list, from a place that the seed gives."""
    known = _list()
    start %= len(known)
    return known[start:] + known[:start]


@cache
def _list() -> tuple[str, ...]:
    return tuple((files(__package__) / "_refusals.txt").read_text(encoding="utf-8").splitlines())
