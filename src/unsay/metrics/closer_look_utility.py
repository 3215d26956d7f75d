"""How well what should stay still works, by six qualities of the answers: one number per set of splits.

Harmonic mean over splits × {ROUGE-L recall, probability, truth ratio max(0, 1 − R), token entropy, cosine of generation
and answer, share of generations that the answer entails}; a quality that is 0 makes it 0. On the splits in `choices`,
probability is the share of the right answer among the options. Token entropy is the entropy of a generation's words
over log(number of words), 0 below two words.

Paper: Yuan et al. 2024 (arXiv:2410.08109): its retain utility with splits = ("retain",), its model utility
over retain, real authors and world facts; also the retain ability of UniErase (arXiv:2505.15674).
Limits: the smallest part decides, so read the parts in `extra`; an entailment or a cosine judged by words alone is not
comparable with one judged by a model.
Differs: words instead of tokens in the entropy; a quality that could not be measured is left out and named in the note,
as the number then means something else.

Four words, two of them the same: entropy (2·¼·ln 4 + ½·ln 2) / ln 4:

>>> from unsay.metrics._ngrams import entropy
>>> round(entropy("a b c c"), 6), entropy("a"), entropy("b b")
(0.75, 0.0, 0.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from .. import stats
from ..errors import PlanError
from ._pieces import LACKING, Piece, Quality
from ._shared import broken, entities, join, left_out
from .have import Measurements
from .needs import Need
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class CloserLookUtility:
    """Harmonic mean of the qualities of what should stay."""

    splits: tuple[str, ...] = ("retain",)
    """Splits that should stay."""
    choices: tuple[str, ...] = ("real-authors", "world-facts")
    """Those of them whose rows have wrong options."""
    parts: tuple[Quality, ...] = ("rouge", "probability", "truth-ratio", "token-entropy", "cosine", "entailment")
    """The qualities."""
    judge: str = "auto"
    """NLI classifier: hub id or folder, ``auto`` or ``lexical``."""
    encoder: str = "auto"
    """Sentence encoder: hub id or folder, ``auto`` or ``lexical``."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    label: str = ""
    """Name in tables when there are several."""

    def __post_init__(self) -> None:
        if not self.splits or not self.parts or not set(self.parts) <= set(get_args(Quality)):
            raise PlanError(
                f"closer-look-utility cannot average parts {list(self.parts)} over splits {list(self.splits)}",
                f"parts: one or more of {', '.join(get_args(Quality))}; splits: at least one",
            )

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the qualities of every split need, each once."""
        return tuple(dict.fromkeys(need for piece in self._pieces for need in piece.needs))

    def score(self, have: Measurements) -> Score:
        """The harmonic mean in [0, 1]; `extra` has every part as ``split/part``, and `parts`, how many there are."""
        groups: dict[str, list[dict[str, float]]] = {}
        extra, notes, missing = {}, [], []
        for piece in self._pieces:
            name, rows = f"{piece.split}/{piece.quality}", have.rows(piece.split)
            reason = piece.obstacle(have)
            values = {} if reason else piece.values(have)
            if problem := broken(values):
                return unscored(f"{name}: {problem}")
            if not values:
                missing.append(f"without {name}: {reason or f'no row has {LACKING[piece.quality]}'}")
                continue
            if lacking := left_out(values, rows, LACKING[piece.quality]):
                notes.append(f"{name}: {lacking}")
            groups.setdefault(piece.split, []).append(values)
            extra[name] = sum(values.values()) / len(values)
        if groups.keys() != set(self.splits):
            return unscored(join(*missing))
        found = stats.harmonic_mean(groups, entities(*(have.rows(split) for split in self.splits)))
        note = join(*missing, *notes, have.remark(*self.needs), found.note)
        extra["parts"] = float(sum(map(len, groups.values())))
        return Score(found.value, {}, found.n, found.ci, note, found.clusters, extra)

    @property
    def _pieces(self) -> tuple[Piece, ...]:
        how: dict[str, Any] = {f: getattr(self, f) for f in ("max_new_tokens", "judge", "encoder")}
        return tuple(
            Piece(part, split, choices=split in self.choices, **how) for split in self.splits for part in self.parts
        )
