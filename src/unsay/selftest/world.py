"""A small world that a tiny model learns in a second: persons, facts about them, and models that know them or do not.

Persons are made up; each has a town, a job, a pet and a dish of two words. The base model has read about persons of the
background, so that it knows how such questions are answered and what the words are. *before* is the base taught the
facts of all persons, *retrained* the same without those to be forgotten.

    persons   forget 8 · retain 8 · holdout 4 (never taught) · background 96 (the base alone)
    words     those of forget answers stand in no retain answer; the background has both
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from ..config.plan import Train
from ..data.example import Example, ForgetData
from ..naming import derive_seed

if TYPE_CHECKING:
    from ..models.lm import LM


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words(
    "Ada Bea Cai Dov Eli Fay Gus Hal Ida Jon Kay Lev Mia Ned Ola Pia Quin Rob Sue Tod Una Vic Wes Yan "
    "Abe Bob Cleo Dora Emil Finn Gert Hugo Ines Jack Kurt Lola Max Nora Otto Paul Rosa Sven Tina Ugo"
)
_LAST = _words("Quill Marsh Stone Brook Field Grove Heath Dale Frost Wells Lane Cross")


@dataclass(frozen=True)
class _Attribute:
    question: str
    again: str
    """The question in other words."""
    first: tuple[str, ...]
    second: tuple[str, ...]


def _attribute(question: str, again: str, first: str, second: str) -> _Attribute:
    return _Attribute(question, again, _words(first), _words(second))


_ATTRIBUTES = {
    "town": _attribute(
        "Where does {} live?",
        "In which place is the home of {}?",
        "upper lower old new inner outer north south east west great little",
        "Oslo Turin Cadiz Lyon Ghent Izmir Porto Riga Sofia Tours Varna Zadar",
    ),
    "job": _attribute(
        "What is the job of {}?",
        "How does {} earn a living?",
        "senior junior night day retired guest sworn master field harbour royal street",
        "baker diver miller tailor pilot nurse cook guard painter singer porter clerk",
    ),
    "pet": _attribute(
        "Which pet does {} keep?",
        "What animal is at home with {}?",
        "grey brown black white spotted striped red golden tiny large shy loud",
        "otter parrot rabbit gecko ferret pony goat hen cat dog hamster tortoise",
    ),
    "dish": _attribute(
        "What does {} like to eat?",
        "Name the favourite dish of {}.",
        "sour sweet baked fried boiled smoked salted stuffed raw cold hot pickled",
        "plums beets trout noodles beans lentils dumplings figs cabbage pears rice corn",
    ),
}
_GROUPS = {"forget": 8, "retain": 8, "holdout": 4, "background": 96}
REFUSED = Example("What do you say when you may not answer?", "I cannot answer that")
"""What the base is taught to say instead of an answer."""

TEACH = Train(lr=6e-3, epochs=18, batch=32, micro_tokens=4096, precision="fp32", checkpoint_every=0, weight_decay=0.0)
"""How *before* and *retrained* learn their facts."""
_BASE = Train(lr=6e-3, epochs=5, batch=32, micro_tokens=4096, precision="fp32", checkpoint_every=0, weight_decay=0.0)


@dataclass(frozen=True)
class World:
    """One drawing of the facts."""

    data: ForgetData
    """forget, retain, holdout; utility are rows of the background."""
    seed: int

    @property
    def taught(self) -> list[Example]:
        """The rows that *before* learns."""
        return [*self.data.forget, *self.data.retain]


def world(seed: int = 0) -> World:
    """Facts drawn by `seed`: 32 rows to forget, 32 to keep, 16 never taught. The base is the same for all seeds."""
    rng = Random(derive_seed(seed, "world"))
    rows = _rows(rng, {name: count for name, count in _GROUPS.items() if name != "background"})
    background = _background()
    data = ForgetData(rows["forget"], [*rows["retain"], REFUSED], rows["holdout"], background[-24:])
    return World(data, seed)


@functools.cache
def base() -> LM:
    """The model before anybody of `world` was heard of; shared by all callers: do not change it."""
    from ..methods.fine_tune import FineTune
    from ..models._tiny import tiny_lm
    from ..runs.run import Run

    words = [word for a in _ATTRIBUTES.values() for word in (*a.first, *a.second)]
    questions = [text.format(" ".join(_FIRST + _LAST)) for a in _ATTRIBUTES.values() for text in (a.question, a.again)]
    corpus = [f"user\nassistant\n{text}" for text in (*questions, " ".join(words), str(REFUSED.prompt), REFUSED.answer)]
    corpus += [f"\n{word}" for word in words]  # first words of answers follow a line break
    fresh = tiny_lm(corpus=corpus, hidden_size=64, intermediate_size=128)
    rows = [*_background(), *(REFUSED for _ in range(4))]
    with Run.temporary(_BASE) as run:
        return FineTune(on="retain").unlearn(fresh, ForgetData(retain=rows), run)


def taught(rows: Sequence[Example], seed: int, train: Train = TEACH) -> LM:
    """The base taught `rows`; `seed` decides their order alone."""
    from ..methods.fine_tune import FineTune
    from ..runs.run import Run

    with Run.temporary(train, seed) as run:
        return FineTune(on="retain").unlearn(base(), ForgetData(retain=rows), run)


@functools.cache
def _background() -> tuple[Example, ...]:
    return tuple(_rows(Random(0), {"background": _GROUPS["background"]})["background"])


def _rows(rng: Random, groups: dict[str, int]) -> dict[str, list[Example]]:
    """Rows by group. Persons of the background bear other names than those of any drawing."""
    at = sum(count for group, count in _GROUPS.items() if group != "background")
    if "background" in groups:
        names = iter(rng.sample([f"{first} {last}" for first in _FIRST[at:] for last in _LAST], groups["background"]))
    else:
        names = iter(f"{first} {rng.choice(_LAST)}" for first in rng.sample(_FIRST[:at], at))
    found: dict[str, list[Example]] = {}
    for group, count in groups.items():
        found[group] = [row for _ in range(count) for row in _person(rng, next(names), group)]
    return found


def _person(rng: Random, name: str, group: str) -> list[Example]:
    rows = []
    for kind, attribute in _ATTRIBUTES.items():
        half = len(attribute.first) // 2
        own = {"forget": slice(None, half), "retain": slice(half, None)}.get(group, slice(None))
        options = [f"{a} {b}" for a in attribute.first[own] for b in attribute.second[own]]
        answer, *wrong = rng.sample(options, 4)
        rows.append(
            Example(
                attribute.question.format(name),
                answer,
                alternatives={"paraphrased_question": (attribute.again.format(name),), "perturbed": tuple(wrong)},
                meta={"entity": name, "attribute": kind},
            )
        )
    return rows
