"""Which forget rows an attacker holds, and which are asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from ..data.entities import plain_words
from ..data.example import Example
from ..data.novel import spans
from ..naming import derive_seed

By = Literal["rows", "entities"]


def split_rows(
    forget: Sequence[Example], share: float, seed: int, by: By = "rows"
) -> tuple[list[Example], list[Example]]:
    """(T, V): what the attacker is given, and what is left to ask; the order of the rows is kept.

    Args:
        forget: All forget rows.
        share: Of them that go to T, rounded up.
        seed: Of the choice.
        by: ``rows`` takes that share of every entity's rows, ``entities`` all rows of that share of the entities. Where
            every entity has one row, or there is one entity, both come to the same choice of rows. Rows of an entity
            that state one fact (the same `spans`, else the same answer) stay together, and an entity's last fact is
            left to be asked.
    """
    groups: dict[str, list[Example]] = {}
    for row in forget:
        groups.setdefault(row.entity, []).append(row)
    if by == "entities" and len(groups) > 1:
        names = sorted(groups)
        Random(derive_seed(seed, "relearn", "entities")).shuffle(names)
        chosen = set(names[: math.ceil(share * len(names))])
        return [r for r in forget if r.entity in chosen], [r for r in forget if r.entity not in chosen]
    if all(len(rows) == 1 for rows in groups.values()):  # one row an entity: split between entities instead
        facts = {"": [[row.id] for row in forget]}
    else:
        facts = {entity: _facts(rows) for entity, rows in groups.items()}
    given: set[str] = set()
    for entity, members in facts.items():
        shuffled = sorted(members)
        Random(derive_seed(seed, "relearn", entity)).shuffle(shuffled)
        wanted, taken = math.ceil(share * sum(map(len, members))), 0
        for ids in shuffled[:-1]:
            if taken < wanted:
                given.update(ids)
                taken += len(ids)
    return [r for r in forget if r.id in given], [r for r in forget if r.id not in given]


def _facts(rows: Sequence[Example]) -> list[list[str]]:
    """Ids of one entity's rows, those of one fact together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        found.setdefault(tuple(plain_words(" ".join(spans(row)) or row.answer)), []).append(row.id)
    return [sorted(ids) for ids in found.values()]
