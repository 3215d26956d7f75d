"""Knowledge retention rate: share of answers that have the right answer's entities and do not contradict it (KRR).

KRR = mean over rows of 1[E > c and NLI(right answer → generation) ≠ contradiction], c = 0.3, with the entity coverage E
of `kfr`.

Paper: ReLearn (Xu et al. 2025, arXiv:2502.11190).
Limits: a row whose right answer names no entity never counts as retained; outsiders could not reproduce the published
KRR with the authors' own weights (issue 3 of their repository).
Differs: as `kfr`: entities by rules, matched one to one, greedy generations unless `sampling` is given. `rule=code`
counts E = c as retained.

Coverage ½ without contradiction is retained, with one it is not; coverage at the threshold is retained by the code:

>>> from unsay.metrics._coverage import Case
>>> retained(Case(0.5, 4, False), "paper", 0.3), retained(Case(0.5, 4, True), "paper", 0.3)
(True, False)
>>> retained(Case(0.3, 10, False), "paper", 0.3), retained(Case(0.3, 10, False), "code", 0.3)
(False, True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._coverage import Case, Matching, averaged, bare, cases, check
from ._runs import mean_spread
from ._shared import join, mean_score, obstacle
from .have import Measurements
from .needs import EntitySimilarity, Inference, Sampling
from .score import Score, unscored

_RULES: tuple[Literal["paper", "code"], ...] = ("paper", "code")


@dataclass(frozen=True, kw_only=True)
class KRR:
    """Share of rows that count as retained."""

    split: str = "retain"
    rule: Literal["paper", "code"] = "paper"
    """``paper``: E > threshold; ``code``: E ≥ threshold."""
    threshold: float = 0.3
    """c: coverage that knowledge exceeds."""
    likeness: float = 0.8
    """Least cosine of two entities that match."""
    matching: Matching = "one-to-one"
    """``one-to-one``, or ``pairs`` for every pair that is alike."""
    judge: str = "auto"
    """NLI classifier: hub id or folder, ``auto`` or ``lexical``."""
    encoder: str = "auto"
    """Sentence encoder of the entities: hub id or folder, ``auto`` or ``lexical``."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    prompt: str = "prompt"
    """``prompt`` or a key of the rows' alternatives."""
    sampling: Sampling | None = None
    """Draw the generations, several runs each, instead of the likeliest one."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        check(self.rule, _RULES, self.matching, self.threshold, self.likeness)

    @property
    def needs(self) -> tuple[EntitySimilarity, Inference]:
        """Entities and their cosines, and whether the right answer contradicts the generation."""
        return (
            EntitySimilarity(self.split, self.encoder, self.max_new_tokens, self.prompt, sampling=self.sampling),
            Inference(self.split, "answer", self.judge, self.max_new_tokens, self.prompt, sampling=self.sampling),
        )

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has the value under both rules, mean coverage, contradictions."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        found = cases(have, *self.needs, self.matching, self.likeness)
        each = {
            rule: {i: [float(retained(case, rule, self.threshold)) for case in of] for i, of in found.items()}
            for rule in _RULES
        }
        by_rule = {rule: {i: sum(of) / len(of) for i, of in values.items()} for rule, values in each.items()}
        extra = {f"{rule}_rule": sum(of.values()) / len(of) for rule, of in by_rule.items() if of}
        extra |= averaged(found) if found else {}
        extra |= mean_spread(each[self.rule], self.sampling)
        note = join(have.remark(*self.needs), bare(found, "not retained"))
        rows = have.rows(self.split)
        return mean_score(by_rule[self.rule], rows, lacking="judged generation", note=note, extra=extra)


def retained(case: Case, rule: Literal["paper", "code"], threshold: float) -> bool:
    """Whether a generation shows that the knowledge is there."""
    enough = case.coverage > threshold or (rule == "code" and case.coverage == threshold)
    return enough and not case.contradicts
