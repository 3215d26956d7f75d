"""Can the forget rows be told from unseen rows by how much likelier they are than a reference model finds them? (AUC)

Signal = mean log-probability of the answer − the same under a reference model: what is hard or easy for everybody
cancels. AUC of forget rows against holdout rows; ½ is chance.

Paper: Carlini et al. 2021 (arXiv:2012.07805); the calibrated loss of Watson et al. 2022 (arXiv:2111.08440).
Limits: against a reference that has learned the forget rows itself (`before`) the AUC falls below ½ as they fade.
Differs: answer alone, given the prompt; mean instead of summed loss.

Three nats likelier than the reference finds it:

>>> _gain({"a": -1.0, "b": -2.0}, {"a": -4.0})
{'a': 3.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._membership import attack, by_tokens, membership_needs
from ._shared import obstacle
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score, unscored

_AUTO = ("retrained", "base")


@dataclass(frozen=True, kw_only=True)
class ReferenceAttack:
    """AUC of the loss signal relative to a reference model."""

    split: str = "forget"
    """The members."""
    others: str = "holdout"
    """The non-members: rows that no model was trained on."""
    reference: str = "auto"
    """A model of the run; ``auto`` is the retrained one, or ``base`` where only that was measured."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[TokenStats, ...]:
        """Both splits on the subject, the retrained model and the reference."""
        plain = membership_needs(self.split, self.others)
        return tuple(dict.fromkeys([*plain, *(need for name in self._candidates for need in self._of(name))]))

    def score(self, have: Measurements) -> Score:
        """AUC, clustered interval; `extra` has two_sided, retrained_auc (½ when that is the reference) and excess."""
        reasons = {name: obstacle(have, *self._of(name)) for name in self._candidates}
        name = next((name for name, reason in reasons.items() if not reason), "")
        if not name:
            return unscored(obstacle(have, *self.needs[:2]) or next(iter(reasons.values())))
        logp = by_tokens(have, _mean_logp)

        def read(split: str, model: str) -> dict[str, float]:
            return _gain(logp(split, model), logp(split, name))

        needs = membership_needs(self.split, self.others)
        return attack(have, self.split, self.others, needs, read, note=f"reference: {name}")

    @property
    def _candidates(self) -> tuple[str, ...]:
        return _AUTO if self.reference == "auto" else (self.reference,)

    def _of(self, name: str) -> tuple[TokenStats, ...]:
        return tuple(TokenStats(split, model=name) for split in (self.split, self.others))


def _gain(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    return {i: value - theirs[i] for i, value in ours.items() if i in theirs}


def _mean_logp(answer: AnswerStats) -> float:
    return -answer.mean_nll
