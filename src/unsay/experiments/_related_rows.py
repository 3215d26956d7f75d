"""Which rows the related-knowledge experiment teaches, forgets and measures, and what every model of it is asked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import stats
from ..benchmarks.people import Kind, People
from ..data.example import Example, ForgetData
from ..measure.evaluator import Evaluator
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.forget_quality import ForgetQuality
from ..metrics.probability import Probability
from ..metrics.score import Metric
from ..metrics.truth_ratio import TruthRatio
from ..runs.run import Run
from ..runs.store import Store
from ..scoring import score_row
from ..subjects import Subject

QUALITY, UTILITY, OPTIONS = "forget-quality@k1", "utility", "options@k1"
_KEPT = ("value", "ci", "n", "clusters", "note", "extra")
_PER_ROW = ("probability@k1", "probability@k2", "probability@k3", "extraction-strength@k1", "extraction-strength@k2")


@dataclass(frozen=True)
class Variant:
    """What a model was taught about everybody, and what it forgets of the persons to forget."""

    taught: tuple[Kind, ...]
    forgotten: tuple[Kind, ...]


VARIANTS: Mapping[str, Variant] = {
    "theta1": Variant(("k1", "k2", "k3"), ("k1",)),
    "theta2": Variant(("k1", "k3"), ("k1",)),
    "theta3": Variant(("k1", "k2", "k3"), ("k1", "k2")),
}
"""θ1 is the realistic case; θ2 never knew what the facts follow from; θ3 is also told to forget that."""


def about(people: People) -> dict[str, Sequence[Example]]:
    """k1, k2, k3 of the persons to forget; retain: k1 and k3 of the others (taught in all variants); world."""
    splits = _taught(people, ("k1", "k2", "k3")).splits()
    return {
        "k1": splits["forget"],
        "k2": splits["related"],
        "k3": splits["unrelated"],
        "retain": _taught(people, ("k1", "k3")).data().retain,
        "world": splits["world"],
    }


def taught(people: People, variant: Variant) -> Sequence[Example]:
    """The rows that the variant's model is taught."""
    return _taught(people, variant.taught).taught()


def data(people: People, variant: Variant) -> ForgetData:
    """What the variant's unlearning is given."""
    splits = about(people)
    forget = [row for kind in variant.forgotten for row in splits[kind]]
    return dataclasses.replace(_taught(people, variant.taught).data(), forget=forget)


def _taught(people: People, kinds: tuple[Kind, ...]) -> People:
    return People(size=people.size, teach=kinds)


def metrics() -> tuple[Metric, ...]:
    """By teacher forcing alone: nothing is generated."""
    return (
        ForgetQuality(split="k1"),
        TruthRatio(split="k1"),
        Probability(split="k1", choices=True, answer="paraphrased", label="options"),
        *(Probability(split=split) for split in ("k1", "k2", "k3", "retain", "world")),
        *(ExtractionStrength(split=split) for split in ("k1", "k2")),
    )


class Judge:
    """Measures the models of one variant against its retrained model.

    Args:
        run: Progress, signals.
        people: Which persons.
        retrained: Taught the same without the forgotten rows.
    """

    def __init__(self, run: Run, people: People, retrained: Subject):
        self._rows = about(people)
        self._entities = {row.id: row.entity for rows in self._rows.values() for row in rows}
        self._evaluator = Evaluator(self._rows, metrics(), store=Store(), run=run)
        self.subject("retrained", retrained)

    def subject(self, tag: str, subject: Subject) -> None:
        """Measure a model on disk."""
        self._evaluator.measure(tag, fingerprint=subject.fingerprint, load=subject.load)
        subject.drop()

    def model(self, tag: str, lm: Any) -> None:
        """Measure a model in memory."""
        self._evaluator.measure(tag, lm)

    def points(self) -> dict[str, dict[str, Any]]:
        """Tag → metric id → value, interval, n, clusters, note; ``utility``; ``rows``: values by example id."""
        return {tag: self._point(tag, scores) for tag, scores in self._evaluator.scores().items()}

    def _point(self, tag: str, scores: Mapping[str, Any]) -> dict[str, Any]:
        rows = {name: score_row(tag, name, score) for name, score in scores.items()}
        point: dict[str, Any] = {name: {key: row[key] for key in _KEPT} for name, row in rows.items()}
        kept = [scores[f"probability@{split}"] for split in ("retain", "world")]
        point[UTILITY] = self._utility([dict(score.per_example) for score in kept])
        chance = _chance(self._rows["k1"])
        point[OPTIONS] |= {"chance": chance, "below": _below(scores[OPTIONS], chance)}
        point["rows"] = {name: dict(scores[name].per_example) for name in _PER_ROW}
        return point

    def _utility(self, kept: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """Harmonic mean of the mean probability of the retain answers and of the world facts, as TOFU joins its parts.

        A part of 0 makes it 0.
        """
        if not all(kept):
            return {"value": None, "ci": None, "n": 0, "clusters": 0, "note": "a probability is not finite"}
        found = stats.harmonic_mean({"retain": [kept[0]], "world": [kept[1]]}, self._entities)
        value = found.value if math.isfinite(found.value) else None
        return {"value": value, "ci": found.ci, "n": found.n, "clusters": found.clusters, "note": found.note}


def _chance(rows: Sequence[Example]) -> float:
    """Mean share of the right answer for one who cannot tell it from the wrong ones."""
    return sum(1 / (1 + len(row.answers("perturbed"))) for row in rows) / len(rows)


def _below(score: Any, chance: float) -> bool:
    """Whether the right answer is held less likely than chance, beyond its interval where it has one.

    Ignorance is at chance; below it the model still knows which answer to avoid, or is broken.
    """
    if not score.scored:
        return False
    return bool((score.ci[1] if score.ci else score.value) < chance)
