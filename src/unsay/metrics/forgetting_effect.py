"""How much of five signs of knowledge is gone from the forget rows: one number, 1 when nothing shows.

FE = 1 − mean over signs of the mean over rows; the signs are ROUGE-L recall, probability, 1 − min(R, 1/R) of the truth
ratio, cosine of generation and answer (max with 0), and whether the generation entails the answer (only where ROUGE-L
recall ≥ 0.1).

Paper: UniErase (arXiv:2505.15674), forget efficacy; signs of Yuan et al. 2024 (arXiv:2410.08109).
Limits: forgetting too much, up to a broken model, scores 1: read it beside utility and the retrained model's value.
Differs: a sign that could not be measured is left out and named in the note, as the number then means something else.
Rows that lack a sign which others have are left out.

Signs 0.2 and 0.6 of one row:

>>> round(_faded([0.2, 0.6]), 6)
0.6
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ..errors import PlanError
from ._pieces import LACKING, Piece, Quality
from ._shared import broken, join, mean_score
from .have import Measurements
from .needs import Need
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class ForgettingEffect:
    """1 − mean of the signs of knowledge."""

    split: str = "forget"
    parts: tuple[Quality, ...] = ("rouge", "probability", "truth-ratio", "cosine", "entailment")
    """The signs."""
    judge: str = "auto"
    """NLI classifier: hub id or folder, ``auto`` or ``lexical``."""
    encoder: str = "auto"
    """Sentence encoder: hub id or folder, ``auto`` or ``lexical``."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if not self.parts or not set(self.parts) <= set(get_args(Quality)):
            known = ", ".join(get_args(Quality))
            raise PlanError(f"forgetting-effect cannot average {list(self.parts)}", f"parts: one or more of {known}")

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the signs need, each once."""
        return tuple(dict.fromkeys(need for piece in self._pieces for need in piece.needs))

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has the mean of every sign, and `parts`, how many there are."""
        found: dict[str, dict[str, float]] = {}
        missing = []
        for piece in self._pieces:
            reason = piece.obstacle(have)
            values = {} if reason else piece.values(have)
            if problem := broken(values):
                return unscored(f"{piece.quality}: {problem}")
            if values:
                found[piece.quality] = values
            else:
                missing.append(f"without {piece.quality}: {reason or f'no row has {LACKING[piece.quality]}'}")
        if not found:
            return unscored(join(*missing))
        every = [row.id for row in have.rows(self.split) if all(row.id in values for values in found.values())]
        values = {i: _faded([part[i] for part in found.values()]) for i in every}
        extra = {name: sum(part.values()) / len(part) for name, part in found.items()}
        remark = have.remark(*self.needs)
        note = join(*missing, remark)
        return mean_score(
            values, have.rows(self.split), lacking="all signs", note=note, extra={**extra, "parts": float(len(found))}
        )

    @property
    def _pieces(self) -> tuple[Piece, ...]:
        how: dict[str, Any] = {f: getattr(self, f) for f in ("max_new_tokens", "judge", "encoder")}
        return tuple(Piece(part, self.split, forgotten=True, **how) for part in self.parts)


def _faded(signs: Sequence[float]) -> float:
    return 1 - sum(signs) / len(signs)
