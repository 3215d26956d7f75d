"""How well everything that should stay still works: one number over knowledge, wording and truthfulness.

Harmonic mean over splits × {probability, ROUGE-L recall, truth ratio max(0, 1 − R)}; any part that is 0 makes it 0. On
the splits in `choices`, probability is the share of the right answer among the options.

Paper: TOFU (arXiv:2401.06121), section 2.2.1: retain, real authors and world facts, nine parts.
Differs: splits and parts can be chosen; the defaults are TOFU's. The parts are in `extra`. The interval resamples the
entities of each split and keeps a split's parts together.

The harmonic mean of ½ and ¼ is 2 / (2 + 4) = ⅓:

>>> from unsay import stats
>>> round(stats.harmonic_mean({"retain": [{"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.25}]}, {}).value, 6)
0.333333
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .. import stats
from ..data.example import Example
from ..errors import PlanError
from ._shared import broken, entities, join, left_out, obstacle
from .have import Measurements
from .needs import Generations, Need, TokenStats
from .probability import option_shares, probabilities
from .rouge import recalls
from .score import Score, unscored
from .truth_ratio import aggregated, log_ratios, ratio_needs, ratio_obstacle

Part = Literal["probability", "rouge", "truth-ratio"]
_LACKING = {"probability": "answer or wrong options", "rouge": "generation", "truth-ratio": "perturbed answers"}


@dataclass(frozen=True, kw_only=True)
class ModelUtility:
    """Harmonic mean of the utility parts."""

    splits: tuple[str, ...] = ("retain", "real-authors", "world-facts")
    """Splits that should stay."""
    choices: tuple[str, ...] = ("real-authors", "world-facts")
    """Those of them whose rows have wrong options."""
    parts: tuple[Part, ...] = ("probability", "rouge", "truth-ratio")
    """What is averaged on each split."""
    max_new_tokens: int = 128
    """Length limit of the generations behind ROUGE."""
    label: str = ""
    """Name in tables when there are several."""

    def __post_init__(self) -> None:
        if not self.splits or not self.parts or not set(self.parts) <= _LACKING.keys():
            raise PlanError(
                f"model-utility cannot average parts {list(self.parts)} over splits {list(self.splits)}",
                f"parts: one or more of {', '.join(_LACKING)}; splits: at least one",
            )

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the chosen parts of every split need, each once."""
        return tuple(dict.fromkeys(n for s in self.splits for part in self.parts for n in self._needs(s, part)))

    def score(self, have: Measurements) -> Score:
        """The harmonic mean in [0, 1]; `extra` has every part as ``split/part``."""
        groups: dict[str, list[dict[str, float]]] = {}
        extra, notes = {}, []
        for split in self.splits:
            rows = have.rows(split)
            for part in self.parts:
                if reason := self._obstacle(have, split, part):
                    return unscored(reason)
                values = self._values(have, split, part, rows)
                if not values:
                    return unscored(f"{split}: no row has {_LACKING[part]}")
                if problem := broken(values):
                    return unscored(f"{split}: {problem}")
                if missing := left_out(values, rows, _LACKING[part]):
                    notes.append(f"{split}: {missing}")
                groups.setdefault(split, []).append(values)
                extra[f"{split}/{part}"] = sum(values.values()) / len(values)
        found = stats.harmonic_mean(groups, entities(*(have.rows(split) for split in self.splits)))
        return Score(found.value, {}, found.n, found.ci, join(*notes, found.note), found.clusters, extra)

    def _needs(self, split: str, part: Part) -> tuple[Need, ...]:
        if part == "rouge":
            return (Generations(split, max_new_tokens=self.max_new_tokens),)
        if part == "truth-ratio":
            return ratio_needs(split)
        plain = TokenStats(split)
        return (plain, TokenStats(split, answer="perturbed")) if split in self.choices else (plain,)

    def _obstacle(self, have: Measurements, split: str, part: Part) -> str:
        return ratio_obstacle(have, split) if part == "truth-ratio" else obstacle(have, *self._needs(split, part))

    def _values(self, have: Measurements, split: str, part: Part, rows: Sequence[Example]) -> dict[str, float]:
        if part == "rouge":
            return recalls(have.texts(Generations(split, max_new_tokens=self.max_new_tokens)), rows)
        if part == "truth-ratio":
            return {i: aggregated(x, "utility") for i, x in log_ratios(have, split)[0].items()}
        right = have.tokens(TokenStats(split))
        if split not in self.choices:
            return probabilities(right, rows)
        return option_shares(right, have.tokens(TokenStats(split, answer="perturbed")), rows)
