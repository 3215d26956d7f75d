"""How much of a right answer's entities a generation names, and whether it contradicts it: what KFR and KRR share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import PlanError
from .have import EntityTable, Measurements
from .needs import EntitySimilarity, Inference

Rule = Literal["paper", "strict", "code"]
Matching = Literal["one-to-one", "pairs"]


@dataclass(frozen=True, slots=True)
class Case:
    """One generation."""

    coverage: float
    """Entity coverage score E ≥ 0; at most 1 when matched one to one."""
    gold: int
    """Entities of the right answer."""
    contradicts: bool


def cases(
    have: Measurements, similarity: EntitySimilarity, inference: Inference, matching: Matching, likeness: float
) -> Mapping[str, list[Case]]:
    """Every generation that both needs judged, by example id."""
    tables, verdicts = have.entity_tables(similarity), have.verdicts(inference)
    found = {}
    for row in have.rows(similarity.split):
        both = list(zip(tables.get(row.id, ()), verdicts.get(row.id, ()), strict=False))
        if both:
            found[row.id] = [
                Case(coverage(table, matching, likeness), len(table.gold), verdict.label == "contradiction")
                for table, verdict in both
            ]
    return found


def coverage(table: EntityTable, matching: Matching, likeness: float) -> float:
    """E = matches / |gold|; 0 when either side has no entity.

    Args:
        table: Cosines of P said and G gold entities.
        matching: ``one-to-one`` counts the largest set of pairs in which no entity occurs twice; ``pairs`` counts every
            pair, so that E may exceed 1.
        likeness: Least cosine of a match.
    """
    if not table.gold or not table.said:
        return 0.0
    alike = np.asarray(table.cosine) >= likeness
    if matching == "pairs":
        return float(alike.sum()) / len(table.gold)
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    matched = maximum_bipartite_matching(csr_array(alike), perm_type="column")
    return float((matched >= 0).sum()) / len(table.gold)


def averaged(found: Mapping[str, list[Case]]) -> dict[str, float]:
    """Companions of the value: mean coverage, and the share of generations that contradict the right answer."""
    every = [case for of in found.values() for case in of]
    return {
        "coverage": sum(case.coverage for case in every) / len(every),
        "contradiction": sum(case.contradicts for case in every) / len(every),
    }


def bare(found: Mapping[str, list[Case]], reading: str) -> str:
    """Says how many right answers have no entity, and what they are counted as; "" when all have one."""
    count = sum(of[0].gold == 0 for of in found.values())
    return f"{count} of {len(found)} right answers name no entity: counted as {reading}" if count else ""


def check(rule: str, rules: tuple[str, ...], matching: str, threshold: float, likeness: float) -> None:
    """Raises `PlanError` for a setting that means nothing."""
    if rule not in rules:
        raise PlanError(f"rule is {rule!r}, expected {' or '.join(rules)}", f"rule={rules[0]}")
    if matching not in ("one-to-one", "pairs"):
        raise PlanError(f"matching is {matching!r}, expected one-to-one or pairs", "matching=one-to-one")
    for name, value in (("threshold", threshold), ("likeness", likeness)):
        if not 0 <= value <= 1:
            raise PlanError(f"{name} is {value}, expected 0 to 1", f"{name}={0.3 if name == 'threshold' else 0.8}")
