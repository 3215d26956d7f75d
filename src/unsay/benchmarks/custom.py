"""Your own rows: is what you asked to forget gone, is what you asked to keep still there, and the rest too?

Splits: forget, retain (a sample), holdout if given, and the bundled world facts as a check of general knowledge. Rows
with paraphrases or wrong answers (`paraphrased_answer`, `perturbed_answer`, `paraphrased_question`) get the metrics for
them; membership attacks need holdout rows like the forget rows that the model never learned.

Paper: the metrics of TOFU (arXiv:2401.06121) and open-unlearning (arXiv:2506.12618), as far as the rows allow.
Differs: utility is measured on your retain rows and on the world facts (docs/people.md).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..metrics.forget_quality import ForgetQuality
from ..metrics.model_utility import ModelUtility, Part
from ..metrics.score import Metric
from ..metrics.truth_ratio import TruthRatio
from . import _bundled, _suite
from ._benchmark import Wanted


@dataclass(frozen=True, kw_only=True)
class Custom:
    """The `custom` benchmark; empty until `with_data` or `from_data` gives it rows."""

    retain_limit: int = 200
    """Retain rows that are measured: a fixed random sample."""
    max_new_tokens: int = 128
    """Length of generated answers."""
    _rows: ForgetData = field(default=ForgetData(), init=False, repr=False, hash=False)

    cite: ClassVar[str] = "own rows; world facts: docs/people.md"

    def __post_init__(self) -> None:
        if self.retain_limit < 1 or self.max_new_tokens < 1:
            problem = f"retain_limit is {self.retain_limit} and max_new_tokens {self.max_new_tokens}"
            raise PlanError(f"{problem}, expected at least 1", "benchmark.retain_limit=200")

    @classmethod
    def from_data(cls, data: ForgetData, *, retain_limit: int = 200, max_new_tokens: int = 128) -> Custom:
        """The benchmark on `data`."""
        return cls(retain_limit=retain_limit, max_new_tokens=max_new_tokens).with_data(data)

    def with_data(self, data: ForgetData) -> Custom:
        """These settings on `data`."""
        made = replace(self)
        object.__setattr__(made, "_rows", data)
        return made

    def data(self) -> ForgetData:
        """The rows as given."""
        return self._rows

    def taught(self) -> Sequence[Example]:
        """Nothing: the *before* model is the one you have."""
        return ()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """forget, retain (a sample), holdout where there is one, world."""
        found: dict[str, Sequence[Example]] = {"forget": self._rows.forget}
        if self._rows.retain:
            found["retain"] = _sample(self._rows.retain, self.retain_limit)
        if self._rows.holdout:
            found["holdout"] = self._rows.holdout
        return {**found, "world": _bundled.world()}

    def metrics(self) -> tuple[Metric, ...]:
        """What the rows allow; see the module."""
        splits, words = self.splits(), self.max_new_tokens
        kept = tuple(split for split in ("retain", "world") if split in splits)
        rated = [split for split in ("forget", "retain") if _have("perturbed", splits.get(split, ()))]
        parts: tuple[Part, ...] = ("probability", "rouge", "truth-ratio")
        if "retain" in splits and "retain" not in rated:
            parts = ("probability", "rouge")
        return (
            *_suite.memory("forget", words),
            *_suite.reworded("forget", {kind for row in splits["forget"] for kind in row.alternatives}),
            *((TruthRatio(split="forget", aggregate="forget"), ForgetQuality()) if "forget" in rated else ()),
            *(_suite.membership() if "holdout" in splits else ()),
            *(_suite.memory("retain", words) if "retain" in splits else ()),
            *((TruthRatio(split="retain", aggregate="utility"),) if "retain" in rated else ()),
            *_suite.knowledge("world", words),
            ModelUtility(splits=kept, choices=("world",), parts=parts, max_new_tokens=words),
            *_suite.fluency("forget", words),
            *_suite.fluency(kept[0], words),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Down on what was forgotten (with a retrained model, as far down as it), everything else high."""
        return _suite.directions(self.metrics(), forget="down")

    def headline(self) -> tuple[str, ...]:
        """What is left of the forget answers, utility, fluency."""
        kept = next(split for split in ("retain", "world") if split in self.splits())
        return (
            "probability@forget",
            "rouge@forget",
            "extraction-strength@forget",
            "model-utility",
            f"probability@{kept}",
            f"fluency@{kept}",
        )


def _sample(rows: Sequence[Example], limit: int) -> Sequence[Example]:
    """At most `limit` rows in their order, the same ones whenever the list is as long."""
    if len(rows) <= limit:
        return rows
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), limit))]


def _have(kind: str, rows: Sequence[Example]) -> bool:
    return any(row.answers(kind) for row in rows)
