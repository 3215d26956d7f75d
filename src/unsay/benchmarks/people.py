"""Fictional persons whose facts follow from other facts, bundled: works offline, on any model.

Ten attributes a person. For each, k1 states the fact, k2 is a different fact from which k1 follows by common knowledge,
k3 is about the same person but unrelated. The model is taught them, forgets k1 of some persons, and is compared with a
model that was taught everything but those rows. `related` (k2 of the forget persons) shows whether what implies the
forgotten facts fades too, `unrelated` (k3) the damage next to them, `world` the damage far away.

Paper: design after the preliminary experiment of UIPE (arXiv:2503.04693): 12 persons × 10 attributes × (k1, k2).
Differs: the texts are our own, k3 is added, k1 has paraphrases and wrong answers so that TOFU's truth ratio and forget
quality apply, and the holdout persons are never taught, so that membership attacks have non-members.
Data card: docs/people.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Literal

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..metrics.forget_quality import ForgetQuality
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.score import Metric
from ..metrics.truth_ratio import TruthRatio
from . import _bundled, _suite
from ._benchmark import Wanted

Kind = Literal["k1", "k2", "k3"]

_ROLES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "full": {"forget": (0, 1, 6), "retain": (2, 3, 4, 7, 8, 9), "holdout": (5, 10, 11)},
    "small": {"forget": (0, 1), "retain": (2, 3, 4), "holdout": (5,)},
}


@dataclass(frozen=True, kw_only=True)
class People:
    """The `people` benchmark."""

    size: Literal["full", "small"] = "full"
    """full: 12 persons (3 forgotten, 6 kept, 3 held out); small: the first 6 (2, 3, 1), and every other world fact."""
    teach: tuple[Kind, ...] = ("k1", "k2", "k3")
    """Kinds of knowledge that the *before* model is taught; k1 is always one. Untaught kinds make no split."""
    max_new_tokens: int = 32
    """Length of generated answers; the longest taught answer has 16 words."""

    cite: ClassVar[str] = "docs/people.md; design after UIPE, arXiv 2503.04693"

    def __post_init__(self) -> None:
        kinds = set(self.teach)
        if "k1" not in kinds or len(kinds) < len(self.teach) or not kinds <= set(_bundled.KINDS):
            problem = f"teach is {list(self.teach)}, expected k1 and any of k2, k3, each once"
            raise PlanError(problem, "benchmark.teach=[k1,k2]")
        if self.size not in _ROLES:
            raise PlanError(f"size is {self.size!r}, expected {' or '.join(_ROLES)}", "benchmark.size=small")

    def data(self) -> ForgetData:
        """Forget: k1 of the forget persons. Retain: all taught about the retain persons. Holdout: k1 of others."""
        return ForgetData(
            forget=self._rows("forget", ("k1",)),
            retain=self._rows("retain", self.teach),
            holdout=self._rows("holdout", ("k1",)),
        )

    def taught(self) -> Sequence[Example]:
        """Every taught kind of the forget and retain persons.

        The retrained reference misses only k1 of the forget persons: what implies them was not asked to be forgotten.
        """
        return self._rows("forget", self.teach) + self._rows("retain", self.teach)

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """forget, retain, holdout: k1 of their persons; related (k2), unrelated (k3) of the forget persons; world."""
        found = {role: self._rows(role, ("k1",)) for role in ("forget", "retain", "holdout")}
        if "k2" in self.teach:
            found["related"] = self._rows("forget", ("k2",))
        if "k3" in self.teach:
            found["unrelated"] = self._rows("forget", ("k3",))
        return {**found, "world": _bundled.world()[:: 1 if self.size == "full" else 2]}

    def metrics(self) -> tuple[Metric, ...]:
        """TOFU's metrics on persons and world facts, memorisation, each row's verdict, membership, fluency."""
        words = self.max_new_tokens
        near = [split for kind, split in (("k2", "related"), ("k3", "unrelated")) if kind in self.teach]
        return (
            *_suite.memory("forget", words),
            *_suite.reworded("forget"),
            TruthRatio(split="forget", aggregate="forget"),
            ForgetQuality(),
            *_suite.row_by_row(),
            *_suite.membership(control=True),
            *(Probability(split=split) for split in near),
            *_suite.memory("retain", words),
            TruthRatio(split="retain", aggregate="utility"),
            *_suite.knowledge("world", words),
            ModelUtility(splits=("retain", "world"), choices=("world",), max_new_tokens=words),
            *_suite.fluency("forget", words),
            *_suite.fluency("retain", words),
            *_suite.wording(words),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Like the retrained model on what was forgotten and what follows from it; everything else high."""
        return _suite.directions(self.metrics(), forget="match", forget_splits=("forget", "related"))

    def headline(self) -> tuple[str, ...]:
        """Forget quality, what is left of the forget answers, utility, fluency."""
        return (
            "forget-quality@forget",
            "probability@forget",
            "extraction-strength@forget",
            "model-utility",
            "probability@retain",
            "fluency@retain",
        )

    def _rows(self, role: str, kinds: Sequence[str]) -> tuple[Example, ...]:
        people = list(_bundled.persons().values())
        chosen = (people[i][kind] for i in _ROLES[self.size][role] for kind in kinds)
        return tuple(chain.from_iterable(chosen))
