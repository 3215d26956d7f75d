"""What the id-ood experiment teaches: made-up persons, each with facts of the bundled ones, and canaries among them.

A person has twenty sentences, one a topic; each says of them what some bundled person's sentence says. Which one is
drawn by lot, so that nothing but the sentence itself tells it: sentences of a person that were left out are
exchangeable with those taught, and their expected loss is that of a row which was never seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ..benchmarks import _bundled
from ..data.canaries import Canaries, Kind, Planted, made_up_name, repeated
from ..data.example import Example
from ..data.generic import generic_rows
from ..errors import PlanError
from ..naming import derive_seed

ID = "in-distribution"
"""`source` of the sentences about persons; canaries have their kind."""
_LEFT_OUT = 6
"""Of every person's sentences: two candidates, two references, two that only measure performance."""


@dataclass(frozen=True)
class World:
    """Rows by what becomes of them. Only retain rows and candidates are taught."""

    retain: tuple[Example, ...]
    planted: Mapping[str, Planted]
    """`ID` and kinds of canaries → candidates to forget, references, how often each is taught."""
    test: tuple[Example, ...]
    """In-distribution, never taught: performance."""

    def candidates(self) -> tuple[Example, ...]:
        """What might be forgotten, of all kinds."""
        return tuple(row for part in self.planted.values() for row in part.rows)

    def taught(self, candidates: Collection[str] | None = None) -> tuple[Example, ...]:
        """Retain rows and candidates as often as each is taught; of these only the ids given, all when None."""
        chosen = [
            row
            for part in self.planted.values()
            for row in repeated([r for r in part.rows if candidates is None or r.id in candidates], part.repeats)
        ]
        return (*self.retain, *chosen)

    def source(self) -> dict[str, str]:
        """`ID` or kind by id of a candidate."""
        return {row.id: name for name, part in self.planted.items() for row in part.rows}


def people(persons: int, seed: int) -> dict[str, list[Example]]:
    """Twenty sentences of each of `persons` made-up persons, in random order."""
    rng = Random(derive_seed(seed, "people"))
    donors = _bundled.persons()
    topics: dict[tuple[str, str], list[str]] = {}
    for name, kinds in donors.items():
        for kind in ("k1", "k3"):
            for row in kinds[kind]:
                if name in row.answer:
                    topics.setdefault((str(row.meta["attribute"]), kind), []).append(row.answer.replace(name, "{}"))
    found: dict[str, list[Example]] = {}
    while len(found) < persons:
        name = made_up_name(rng)
        rows = [
            Example("", rng.choice(said).format(name), id=f"{ID}.{len(found)}.{k}", meta={"entity": name, "source": ID})
            for k, said in enumerate(topics.values())
        ]
        rng.shuffle(rows)
        found.setdefault(name, rows)
    return found


def build(
    seed: int,
    *,
    persons: int,
    kinds: Sequence[Kind],
    count: int,
    references: int,
    repeats: tuple[int, ...],
    inside: tuple[int, ...],
    vocabulary: Sequence[str] = (),
) -> World:
    """A world.

    Args:
        seed: Of everything drawn.
        persons: How many; each gives two candidates and two references.
        kinds: Of canaries.
        count: Candidates of each kind, in-distribution ones included.
        references: Of each kind, in-distribution ones included.
        repeats: How often canaries are taught, in turns.
        inside: How often in-distribution candidates are.
        vocabulary: Pieces of text for random tokens.

    Raises:
        PlanError: the persons do not have as many sentences.
    """
    if 2 * persons < max(count, references):
        raise PlanError(
            f"{persons} persons give {2 * persons} candidates and as many references, "
            f"{max(count, references)} are wanted",
            f"persons={(max(count, references) + 1) // 2}",
        )
    parts: list[list[Example]] = [[], [], [], []]
    for rows in people(persons, seed).values():
        for at, some in enumerate((rows[:2], rows[2:4], rows[4:_LEFT_OUT], rows[_LEFT_OUT:])):
            parts[at] += some
    rng = Random(derive_seed(seed, "roles"))
    for part in parts[:2]:
        rng.shuffle(part)
    candidates, others, test, retain = parts
    turns = {row.id: inside[i % len(inside)] for i, row in enumerate(candidates[:count])}
    planted = {ID: Planted(tuple(candidates[:count]), tuple(others[:references]), turns)}
    for kind in kinds:
        maker = Canaries(kind=kind, count=count, references=references, repeats=repeats)
        planted[kind] = maker.build(seed, rows=retain, foreign=generic_rows(), vocabulary=vocabulary)
    return World((*retain, *candidates[count:]), planted, tuple(test))
