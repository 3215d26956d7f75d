"""200 fictional authors with 20 questions each: forget 2, 10 or 20 of them (forget01, forget05, forget10).

From a folder (`path`, or ``$UNSAY_DATA/tofu``), otherwise from the hub (``locuslab/TOFU``). The *before* model is one
that has learned all 4,000 rows, given or taught here; with ``taught_rows=forget10`` a small experiment of 20 authors.

Paper: TOFU (Maini et al. 2024, arXiv:2401.06121), MIT licence: probability, ROUGE-L recall of at most 200 new tokens,
truth ratio, model utility over retain, real authors and world facts, forget quality against a retrained model.
Differs: rows carry their author, so that intervals are clustered; exact memorisation, extraction strength, rewordings
and fluency are added, and membership attacks where `holdout_authors` leaves authors that no model was taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..metrics.forget_quality import ForgetQuality
from ..metrics.model_utility import ModelUtility
from ..metrics.score import Metric
from ..metrics.truth_ratio import TruthRatio
from . import _suite
from ._benchmark import Wanted
from ._tofu_files import AUTHOR, TofuFiles

_RETAIN = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
_MOST_HELD_OUT = 160
"""Authors of retain90 that `retain_perturbed` does not ask about."""


@dataclass(frozen=True, kw_only=True)
class Tofu:
    """The `tofu` benchmark."""

    split: Literal["forget01", "forget05", "forget10"] = "forget10"
    """What is forgotten: 2, 10 or 20 authors of 200."""
    path: str | None = None
    """Folder with the files; None is $UNSAY_DATA/tofu where it exists, else the hub."""
    taught_rows: Literal["full", "forget10"] = "full"
    """What the *before* model has learned: everything, or only the 20 authors of forget10 (then retain is the rest)."""
    holdout_authors: int = 0
    """Authors that are never taught, for membership attacks; only with taught_rows=forget10."""
    retain_limit: int | None = None
    """Measure only the first so many retain rows; None is all 400 (or all that are taught)."""
    max_new_tokens: int = 200
    """Length of generated answers."""

    cite: ClassVar[str] = "TOFU, arXiv 2401.06121"

    def __post_init__(self) -> None:
        small = self.taught_rows == "forget10"
        if small and self.split == "forget10":
            raise PlanError(
                "taught_rows=forget10 with split=forget10 leaves nothing to retain", "benchmark.split=forget01"
            )
        if not 0 <= self.holdout_authors <= (_MOST_HELD_OUT if small else 0):
            expected = f"0 to {_MOST_HELD_OUT}" if small else "0: taught_rows=full leaves no author untaught"
            raise PlanError(f"holdout_authors is {self.holdout_authors}, expected {expected}", _SMALL)
        if self.retain_limit is not None and self.retain_limit < 1:
            raise PlanError(f"retain_limit is {self.retain_limit}, expected at least 1", "benchmark.retain_limit=100")

    def data(self) -> ForgetData:
        """Forget: the split's rows. Retain: everything else that was taught. Holdout: the authors that never were."""
        return ForgetData(forget=self._forget(), retain=self._retain(), holdout=self._holdout())

    def taught(self) -> Sequence[Example]:
        """forget10, or all 4,000 rows."""
        return self._files().rows(self.taught_rows)

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """forget, retain (rows with paraphrases), real-authors, world-facts; holdout where authors are held out."""
        files = self._files()
        retain = self._retain() if self.taught_rows == "forget10" else files.rows("retain_perturbed")
        found: dict[str, Sequence[Example]] = {
            "forget": self._forget(),
            "retain": retain[: self.retain_limit],
            "real-authors": files.rows("real_authors_perturbed"),
            "world-facts": files.rows("world_facts_perturbed"),
        }
        if holdout := self._holdout():
            found["holdout"] = holdout
        return found

    def metrics(self) -> tuple[Metric, ...]:
        """TOFU's metrics, memorisation, each row's verdict, fluency; membership where there is a holdout."""
        words = self.max_new_tokens
        return (
            *_suite.memory("forget", words),
            *_suite.reworded("forget"),
            TruthRatio(split="forget", aggregate="forget"),
            ForgetQuality(),
            *_suite.row_by_row(),
            *(_suite.membership(control=True) if self.holdout_authors else ()),
            *_suite.memory("retain", words),
            TruthRatio(split="retain", aggregate="utility"),
            *_suite.knowledge("real-authors", words),
            *_suite.knowledge("world-facts", words),
            ModelUtility(max_new_tokens=words),
            *_suite.fluency("forget", words),
            *_suite.fluency("retain", words),
            *_suite.wording(words),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Like the retrained model on what was forgotten; everything else high."""
        return _suite.directions(self.metrics(), forget="match")

    def headline(self) -> tuple[str, ...]:
        """TOFU's two axes, what is left of the forget answers, fluency."""
        return (
            "forget-quality@forget",
            "model-utility",
            "probability@forget",
            "rouge@forget",
            "extraction-strength@forget",
            "fluency@retain",
        )

    def _files(self) -> TofuFiles:
        return TofuFiles(self.path)

    def _forget(self) -> tuple[Example, ...]:
        return self._files().reworded(self.split)

    def _holdout(self) -> Sequence[Example]:
        """The last authors of retain90, as many as are held out."""
        authors = self.holdout_authors
        return self._files().rows("retain90")[-authors * AUTHOR :] if authors else ()

    def _retain(self) -> tuple[Example, ...]:
        """The taught rows that are not to be forgotten; with paraphrases where forget10 is all that is taught."""
        if self.taught_rows == "full":
            return self._files().rows(_RETAIN[self.split])
        gone = {row.id for row in self._forget()}
        return tuple(row for row in self._files().reworded("forget10") if row.id not in gone)


_SMALL = "benchmark.taught_rows=forget10 benchmark.split=forget01 benchmark.holdout_authors=2"
