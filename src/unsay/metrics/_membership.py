"""Membership tests: a signal per row, then the AUC of forget rows (members) against rows never trained on.

Shared by loss-attack, zlib-ratio, min-k and min-k-pp, which differ in the signal alone.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import stats
from ._shared import broken, by_row, entities, finite, join, left_out, obstacle
from .have import AnswerStats, Measurements
from .needs import TokenStats
from .score import Score, unscored

Signal = Callable[[AnswerStats], float]
"""One answer → how much it looks like training data; higher means member."""


def membership_needs(members: str, others: str) -> tuple[TokenStats, ...]:
    """Both splits, on the subject and on the retrained model."""
    return (
        TokenStats(members),
        TokenStats(others),
        TokenStats(members, model="retrained"),
        TokenStats(others, model="retrained"),
    )


def membership_score(have: Measurements, members: str, others: str, signal: Signal) -> Score:
    """AUC of the signal; the retrained model's AUC goes beside it when there is one.

    Returns:
        value: AUC in [0, 1]; .5 is chance.
        per_example: the signal of members and non-members.
        extra: two_sided = |AUC − ½| (an AUC far below ½ tells members apart just as well), and with a retrained model
            retrained_auc and excess = AUC − retrained_auc.
    """
    needs = membership_needs(members, others)
    if reason := obstacle(have, *needs[:2]):
        return unscored(reason)
    inside, outside = _signals(have, needs[0], signal), _signals(have, needs[1], signal)
    for split, found in ((members, inside), (others, outside)):
        if not found:
            return unscored(f"no row of split {split!r} has an answer token")
    values = {**outside, **inside}
    if problem := broken(values):
        return unscored(problem)
    rows = (have.rows(members), have.rows(others))
    auc = stats.auc(inside, outside, entities(*rows))
    extra = {"two_sided": abs(auc.value - 0.5), "members": float(len(inside)), "others": float(len(outside))}
    if not obstacle(have, *needs[2:]):
        twins = _signals(have, needs[2], signal), _signals(have, needs[3], signal)
        if all(twins) and not any(map(broken, twins)):
            extra["retrained_auc"] = stats.area(list(twins[0].values()), list(twins[1].values()))
            extra["excess"] = auc.value - extra["retrained_auc"]
    lacking = "answer token"
    note = join(left_out(inside, rows[0], lacking), left_out(outside, rows[1], lacking), auc.note)
    return Score(auc.value, finite(values), auc.n, auc.ci, note, auc.clusters, extra)


def _signals(have: Measurements, need: TokenStats, signal: Signal) -> dict[str, float]:
    return by_row(have.tokens(need), have.rows(need.split), signal)
