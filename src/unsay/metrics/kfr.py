"""Knowledge forgetting rate: share of answers that lack the right answer's entities or contradict it (KFR).

KFR = mean over rows of 1[E < c or NLI(generation → right answer) = contradiction], c = 0.3. E is the entity coverage:
matched entities / entities of the right answer, two entities matching when the cosine of their embeddings is ≥ 0.8.

Paper: ReLearn (Xu et al. 2025, arXiv:2502.11190); entity coverage: equation 10.
Limits: in effect "entity coverage is low" (in the published results the contradictions decide 1 row of 110). Gibberish
without entities scores 1, so read fluency and linguistic-score beside it; a right answer in other nouns counts as
forgotten; so does every answer where the right one names no entity.
Differs: entities are found by rules, not by a language model, and matched one to one, so that E ≤ 1 (`matching=pairs`
counts pairs as the authors' code does); one greedy generation unless `sampling` asks for the paper's three sampled runs
(then a row's value is their mean, and `extra` has each run's). The paper's rule is not the code's: `rule` chooses, and
`extra` has all three.

Coverage ¼ without contradiction is forgotten, coverage ½ is known; of 2 entities the code wants more than half:

>>> from unsay.metrics._coverage import Case
>>> forgotten(Case(0.25, 4, False), "paper", 0.3), forgotten(Case(0.5, 2, False), "paper", 0.3)
(True, False)
>>> forgotten(Case(0.5, 2, False), "strict", 0.3), forgotten(Case(0.5, 2, False), "code", 0.3)
(False, True)
"""

from __future__ import annotations

from dataclasses import dataclass

from ._coverage import Case, Matching, Rule, averaged, bare, cases, check
from ._runs import mean_spread
from ._shared import join, mean_score, obstacle
from .have import Measurements
from .needs import EntitySimilarity, Inference, Sampling
from .score import Score, unscored

_RULES: tuple[Rule, ...] = ("paper", "strict", "code")
_SMALL = 3
"""Up to so many entities of the right answer, the code asks for half of them."""


@dataclass(frozen=True, kw_only=True)
class KFR:
    """Share of rows that count as forgotten."""

    split: str = "forget"
    rule: Rule = "paper"
    """``paper``: E < threshold; ``code``: E ≤ threshold, or ≤ ½ where the right answer has at most 3 entities;
    ``strict``: the same with <."""
    threshold: float = 0.3
    """c: least coverage of knowledge."""
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
        """Entities and their cosines, and whether the generation contradicts the right answer."""
        return (
            EntitySimilarity(self.split, self.encoder, self.max_new_tokens, self.prompt, sampling=self.sampling),
            Inference(self.split, "generation", self.judge, self.max_new_tokens, self.prompt, sampling=self.sampling),
        )

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has the value under every rule, mean coverage, contradictions."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        found = cases(have, *self.needs, self.matching, self.likeness)
        each = {
            rule: {i: [float(forgotten(case, rule, self.threshold)) for case in of] for i, of in found.items()}
            for rule in _RULES
        }
        by_rule = {rule: {i: sum(of) / len(of) for i, of in values.items()} for rule, values in each.items()}
        extra = {f"{rule}_rule": sum(of.values()) / len(of) for rule, of in by_rule.items() if of}
        extra |= averaged(found) if found else {}
        extra |= mean_spread(each[self.rule], self.sampling)
        note = join(have.remark(*self.needs), bare(found, "forgotten"))
        rows = have.rows(self.split)
        return mean_score(by_rule[self.rule], rows, lacking="judged generation", note=note, extra=extra)


def forgotten(case: Case, rule: Rule, threshold: float) -> bool:
    """Whether a generation shows that the knowledge is gone."""
    if case.contradicts:
        return True
    if rule == "paper":
        return case.coverage < threshold
    least = 0.5 if case.gold <= _SMALL else threshold
    return case.coverage < least or (rule == "code" and case.coverage == least)
