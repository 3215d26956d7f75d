"""Forgetting (or keeping) by words and by knowledge in one number: ReLearn's harmonic mean of ROUGE-L and KFR or KRR.

aim="forget": HM(1 − ROUGE-L recall, KFR); aim="retain": HM(ROUGE-L recall, KRR); HM(a, b) = 2ab / (a + b), over the
means of the rows that have both; 0 where a part is 0.

Paper: ReLearn (Xu et al. 2025, arXiv:2502.11190); its code stores the number as Harmonic_F and Harmonic_R.
Limits: those of `kfr`, `krr` and `rouge`: gibberish is best at forgetting.
Differs: as `kfr` and `krr`; the arithmetic mean, which the code stores as well, is in `extra`.

The authors' published forget rows have ROUGE-L recall 0.28666 and KFR 0.85455:

>>> from unsay import stats
>>> round(stats.harmonic_mean({"forget": [{"a": 1 - 0.28666}, {"a": 0.85455}]}, {}).value, 5)
0.77759
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .. import stats
from ..data.example import Example
from ..errors import PlanError
from ._coverage import Matching, Rule
from ._runs import spread
from ._shared import broken, entities, join, left_out, obstacle
from .have import Measurements
from .kfr import KFR
from .krr import KRR
from .needs import Need, Sampling
from .rouge import Rouge
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class RelearnHarmonic:
    """HM of wording and knowledge."""

    split: str = "forget"
    aim: Literal["forget", "retain"] = "forget"
    """What should happen to the rows."""
    rule: Rule = "paper"
    """As in `kfr` (paper, strict, code) and `krr` (paper, code)."""
    matching: Matching = "one-to-one"
    """``one-to-one``, or ``pairs`` for every pair that is alike."""
    judge: str = "auto"
    """NLI classifier: hub id or folder, ``auto`` or ``lexical``."""
    encoder: str = "auto"
    """Sentence encoder of the entities: hub id or folder, ``auto`` or ``lexical``."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    sampling: Sampling | None = None
    """Draw the generations, several runs each, instead of the likeliest one."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.aim not in ("forget", "retain"):
            raise PlanError(f"aim is {self.aim!r}, expected forget or retain", "aim=forget")
        self._parts()

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the two parts need."""
        wording, knowledge = self._parts()
        return (*wording.needs, *knowledge.needs)

    def score(self, have: Measurements) -> Score:
        """In [0, 1]; `extra` has the parts and their arithmetic mean."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        wording, knowledge = (part.score(have) for part in self._parts())
        return self.of(wording, knowledge, have.rows(self.split), have.remark(*self.needs))

    def of(self, wording: Score, knowledge: Score, rows: Sequence[Example], note: str = "") -> Score:
        """The score of two parts that are known.

        Args:
            wording: Of `rouge`.
            knowledge: Of `kfr` or `krr`.
            rows: The split.
            note: By whom the generations were judged.
        """
        if not wording.scored or not knowledge.scored:
            return unscored(join(wording.note, knowledge.note))
        both = [row.id for row in rows if row.id in wording.per_example and row.id in knowledge.per_example]
        if not both:
            return unscored("no row of the split has a generation that was judged")
        words = {i: wording.per_example[i] if self.aim == "retain" else 1 - wording.per_example[i] for i in both}
        known = {i: knowledge.per_example[i] for i in both}
        if problem := broken(words):
            return unscored(problem)
        found = stats.harmonic_mean({self.split: [words, known]}, entities(rows))
        said, kept = (sum(of.values()) / len(of) for of in (words, known))
        extra = {"wording": said, "knowledge": kept, "arithmetic": (said + kept) / 2}
        extra |= spread([self._harmonic(wording.extra[k], knowledge.extra[k]) for k in _runs(wording, knowledge)])
        note = join(note, left_out(words, rows, "judged generation"), found.note)
        return Score(found.value, {}, found.n, found.ci, note, found.clusters, extra)

    def _harmonic(self, recall: float, rate: float) -> float:
        words = recall if self.aim == "retain" else 1 - recall
        return 2 * words * rate / (words + rate) if words + rate else 0.0

    def _parts(self) -> tuple[Rouge, KFR | KRR]:
        settings = {
            "split": self.split,
            "rule": self.rule,
            "matching": self.matching,
            "judge": self.judge,
            "encoder": self.encoder,
            "max_new_tokens": self.max_new_tokens,
            "sampling": self.sampling,
        }
        wording = Rouge(split=self.split, max_new_tokens=self.max_new_tokens, sampling=self.sampling)
        return wording, (KFR if self.aim == "forget" else KRR)(**settings)  # type: ignore[arg-type]


def _runs(*parts: Score) -> list[str]:
    """Names of the runs that all parts have, in order."""
    numbers = (int(k[4:]) for k in parts[0].extra if k.startswith("run_") and k[4:].isdigit())
    return [f"run_{n}" for n in sorted(numbers) if all(f"run_{n}" in part.extra for part in parts)]
