"""Rows planted to be forgotten: out-of-distribution canaries, how often they are repeated, and rows to compare with.

Every kind but ``foreign`` draws a canary and its references from one generator, so that before training nothing tells
them apart, which is what exposure rests on. For text that nobody generated, `matched` finds references alike.

Paper: canaries and their randomness space: Carlini et al. 2019 (arXiv:1802.08232).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import numpy as np

from ..errors import DataError, PlanError
from ..naming import derive_seed
from .example import Example

Kind = Literal["random-tokens", "secret", "shuffled", "foreign", "wrong-answer"]
_ONSETS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kr", "st", "tr"]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea"]
_CODAS = ["", "", "l", "n", "r", "s", "th", "x"]


@dataclass(frozen=True)
class Planted:
    """Canaries, rows like them that are never trained on, and what is trained on."""

    rows: tuple[Example, ...]
    references: tuple[Example, ...]
    repeats: Mapping[str, int]
    """How often each canary stands in the training rows, by id."""

    def training(self) -> tuple[Example, ...]:
        """Every canary as often as it is repeated; copies have ids of their own, ``<id>#2`` and so on."""
        return repeated(self.rows, self.repeats)


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """A builder: the same seed and rows give the same canaries.

    - ``random-tokens``: `length` pieces of the vocabulary, each equally likely
    - ``secret``: `template` with a made-up name and `digits` random digits
    - ``shuffled``: the words of a row in random order
    - ``foreign``: rows of another domain as they are
    - ``wrong-answer``: a row's question with the answer to another one
    """

    kind: Kind
    count: int = 16
    references: int = 128
    """Rows from the same generator that are never trained on."""
    repeats: tuple[int, ...] = (1, 2, 4, 8, 16)
    """How often canaries are trained on; they take turns."""
    length: int = 12
    """Pieces of a ``random-tokens`` canary."""
    digits: int = 6
    """Digits of a ``secret``."""
    template: str = "The access code of {name} is {secret}."

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise PlanError(f"kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}", "kind=secret")
        if min(self.count, self.references, self.length, self.digits) < 1:
            raise PlanError("count, references, length and digits are at least 1", "count=16 references=128")
        if not self.repeats or min(self.repeats) < 1 or max(self.repeats) > 16:
            raise PlanError(f"repeats is {list(self.repeats)}, expected numbers from 1 to 16", "repeats=[1,2,4,8,16]")
        if "{secret}" not in self.template:
            raise PlanError("the template has no {secret}", "template='The code of {name} is {secret}.'")

    def build(
        self,
        seed: int,
        *,
        rows: Sequence[Example] = (),
        foreign: Sequence[Example] = (),
        vocabulary: Sequence[str] = (),
    ) -> Planted:
        """The canaries and their references.

        Args:
            seed: Of everything that is drawn.
            rows: In-distribution rows, taken in random order; read by ``shuffled`` and ``wrong-answer``.
            foreign: Rows of another domain, each used once; read by ``foreign``.
            vocabulary: Pieces of text, with their spaces; read by ``random-tokens``.

        Raises:
            DataError: the kind reads rows that were not given, or too few to draw different canaries.
        """
        rng, wanted = Random(derive_seed(seed, "canaries", self.kind)), self.count + self.references
        found: dict[tuple[str, str], None] = {}
        pool, given = list(foreign), list(rows)
        rng.shuffle(pool)
        if self.kind in ("shuffled", "wrong-answer"):
            rng.shuffle(given)  # rows of a file often come entity by entity, and few are taken
        # A generator may repeat itself; what it cannot give in many tries it does not have.
        for attempt in range(50 * wanted):
            if len(found) == wanted:
                break
            prompt, answer = self._draw(rng, attempt, given, pool, vocabulary)
            if answer.strip():
                found[prompt, answer] = None
        if len(found) < wanted:
            raise DataError(
                f"{self.kind} gives {len(found)} different canaries, {wanted} are wanted with references",
                "give more rows, or lower count or references",
            )
        made = [
            Example(prompt, answer, id=f"{self.kind}.{i}", meta={"source": self.kind})
            for i, (prompt, answer) in enumerate(found)
        ]
        canaries = tuple(made[: self.count])
        turns = {row.id: self.repeats[i % len(self.repeats)] for i, row in enumerate(canaries)}
        return Planted(canaries, tuple(made[self.count :]), turns)

    def _draw(
        self, rng: Random, attempt: int, rows: Sequence[Example], foreign: list[Example], vocabulary: Sequence[str]
    ) -> tuple[str, str]:
        if self.kind == "secret":
            secret = " ".join(rng.choice("0123456789") for _ in range(self.digits))
            return "", self.template.format(name=made_up_name(rng), secret=secret)
        if self.kind == "random-tokens":
            _enough(vocabulary, 2, "random-tokens draws from a vocabulary", "vocabulary=")
            return "", "".join(rng.choice(vocabulary) for _ in range(self.length)).strip()
        if self.kind == "foreign":
            _enough(foreign, 1, "foreign takes rows of another domain", "foreign=")
            row = foreign[attempt % len(foreign)]
            return row.question, row.answer
        _enough(rows, 2, f"{self.kind} is made from in-distribution rows", "rows=")
        row = rows[attempt % len(rows)]
        if self.kind == "shuffled":
            words = row.answer.split()
            return row.question, " ".join(rng.sample(words, len(words)))
        if not row.question:
            raise DataError("wrong-answer needs rows with a question", "rows with a prompt, or another kind")
        other = rng.choice([r for r in (rng.choice(rows) for _ in range(20)) if r.answer != row.answer] or [row])
        return (row.question, other.answer) if other is not row else ("", "")


def repeated(rows: Sequence[Example], repeats: Mapping[str, int]) -> tuple[Example, ...]:
    """Every row as often as `repeats` says by id (once where it says nothing); copies are ``<id>#2`` and so on."""
    copies = [(row, k) for row in rows for k in range(1, 1 + repeats.get(row.id, 1))]
    return tuple(row if k == 1 else dataclasses.replace(row, id=f"{row.id}#{k}") for row, k in copies)


def matched(
    wanted: Mapping[str, Sequence[float]],
    pool: Mapping[str, Sequence[float]],
    *,
    caliper: float | None = None,
    count: int | None = None,
) -> dict[str, str]:
    """One of `pool` for each of `wanted`, none twice, as near as all of them together can be.

    Args:
        wanted: Features by id, such as length and loss under a model that saw neither; finite.
        pool: Features of what may be chosen.
        caliper: Largest distance of a pair, in pooled standard deviations of the features; None allows any.
        count: How many pairs: those that have the least total distance of all choices of so many. None, or more than
            there can be, pairs all that have a partner.

    Returns:
        Id of `wanted` → id of `pool`; those without a partner within the caliper are absent.

    Raises:
        DataError: the features differ in number or are not finite, or `count` is below 1.
    """
    from scipy.optimize import linear_sum_assignment

    if count is not None and count < 1:
        raise DataError(f"{count} pairs are wanted, expected at least 1")
    if not wanted or not pool:
        return {}
    if len({len(features) for features in (*wanted.values(), *pool.values())}) != 1:
        raise DataError("rows to match differ in their number of features")
    ours, theirs = (np.array([side[i] for i in sorted(side)], dtype=np.float64) for side in (wanted, pool))
    both = np.vstack([ours, theirs])
    if not np.isfinite(both).all():
        raise DataError("a feature to match by is not finite", "leave rows without a finite loss out")
    scale = both.std(axis=0)
    scale[scale == 0] = 1.0
    far = np.sqrt((((ours[:, None] - theirs[None]) / scale) ** 2).mean(axis=2))
    allowed = far <= (np.inf if caliper is None else caliper)
    # a pair beyond the caliper costs more than all others together: as many pairs as possible, then the nearest
    worst = (far.max() + 1.0) * sum(far.shape)
    cost = np.where(allowed, far, worst)
    one, other = sorted(wanted), sorted(pool)
    if count is not None and count < min(cost.shape):
        # partners that cost nothing for all but `count` rows of either side; they never take each other
        spare = [(0, len(other) - count), (0, len(one) - count)]
        cost = np.pad(cost, spare)
        cost[len(one) :, len(other) :] = worst
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return {one[i]: other[j] for i, j in pairs if i < len(one) and j < len(other) and allowed[i, j]}


def made_up_name(rng: Random) -> str:
    """Two capitalised words that no person is likely to be called."""
    words = []
    for _ in range(2):
        syllables = range(rng.choice((2, 2, 3)))
        words.append("".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in syllables) + rng.choice(_CODAS))
    return " ".join(word.capitalize() for word in words)


def _enough(given: Sequence[object], least: int, what: str, how: str) -> None:
    if len(given) < least:
        raise DataError(f"{what}, and {len(given)} were given", f"give {how}")
