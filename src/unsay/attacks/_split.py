"""Which forget rows an attacker holds, and which are asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from ..data.example import Example
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
            every entity has one row, or there is one entity, both come to the same choice of rows.
    """
    groups: dict[str, list[str]] = {}
    for row in forget:
        groups.setdefault(row.entity, []).append(row.id)
    if by == "entities" and len(groups) > 1:
        names = sorted(groups)
        Random(derive_seed(seed, "relearn", "entities")).shuffle(names)
        chosen = set(names[: math.ceil(share * len(names))])
        return [r for r in forget if r.entity in chosen], [r for r in forget if r.entity not in chosen]
    if all(len(ids) == 1 for ids in groups.values()):  # one row an entity: split between entities instead
        groups = {"": [row.id for row in forget]}
    given: set[str] = set()
    for entity, ids in groups.items():
        shuffled = sorted(ids)
        Random(derive_seed(seed, "relearn", entity)).shuffle(shuffled)
        given.update(shuffled[: math.ceil(share * len(ids)) if len(ids) > 1 else 0])
    return [r for r in forget if r.id in given], [r for r in forget if r.id not in given]
