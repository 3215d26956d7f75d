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

from dataclasses import dataclass
from typing import Literal, get_args

from .. import stats
from ..errors import PlanError
from ._pieces import LACKING, Piece
from ._shared import broken, entities, join, left_out
from .have import Measurements
from .needs import Need
from .score import Score, unscored

Part = Literal["probability", "rouge", "truth-ratio"]
_PARTS: tuple[str, ...] = get_args(Part)


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
        if not self.splits or not self.parts or not set(self.parts) <= set(_PARTS):
            raise PlanError(
                f"model-utility cannot average parts {list(self.parts)} over splits {list(self.splits)}",
                f"parts: one or more of {', '.join(_PARTS)}; splits: at least one",
            )

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the chosen parts of every split need, each once."""
        return tuple(dict.fromkeys(n for s in self.splits for p in self.parts for n in self._piece(s, p).needs))

    def score(self, have: Measurements) -> Score:
        """The harmonic mean in [0, 1]; `extra` has every part as ``split/part``."""
        groups: dict[str, list[dict[str, float]]] = {}
        extra, notes = {}, []
        for split in self.splits:
            rows = have.rows(split)
            for part in self.parts:
                piece = self._piece(split, part)
                if reason := piece.obstacle(have):
                    return unscored(reason)
                values = piece.values(have)
                if not values:
                    return unscored(f"{split}: no row has {LACKING[part]}")
                if problem := broken(values):
                    return unscored(f"{split}: {problem}")
                if missing := left_out(values, rows, LACKING[part]):
                    notes.append(f"{split}: {missing}")
                groups.setdefault(split, []).append(values)
                extra[f"{split}/{part}"] = sum(values.values()) / len(values)
        found = stats.harmonic_mean(groups, entities(*(have.rows(split) for split in self.splits)))
        return Score(found.value, {}, found.n, found.ci, join(*notes, found.note), found.clusters, extra)

    def _piece(self, split: str, part: Part) -> Piece:
        return Piece(part, split, choices=split in self.choices, max_new_tokens=self.max_new_tokens)
