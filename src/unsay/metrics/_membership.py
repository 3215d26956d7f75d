"""Membership tests: a signal per row, then the AUC of forget rows (members) against rows never trained on.

Shared by loss-attack, zlib-ratio, min-k, min-k-pp, reference-attack, gradient-norm and privleak, which differ in the
signal alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import stats
from ._shared import broken, by_row, entities, finite, join, left_out, obstacle
from .have import AnswerStats, Measurements
from .needs import Need, TokenStats
from .score import Score, unscored

Signal = Callable[[AnswerStats], float]
"""One answer → how much it looks like training data; higher means member."""
Read = Callable[[str, str], dict[str, float]]
"""Split and model → signal by example id."""


def membership_needs(members: str, others: str) -> tuple[TokenStats, ...]:
    """Both splits, on the subject and on the retrained model."""
    return (
        TokenStats(members),
        TokenStats(others),
        TokenStats(members, model="retrained"),
        TokenStats(others, model="retrained"),
    )


def by_tokens(have: Measurements, signal: Signal) -> Read:
    """How a signal that reads token statistics alone is read."""
    return lambda split, model: by_row(have.tokens(TokenStats(split, model=model)), have.rows(split), signal)


def membership_score(have: Measurements, members: str, others: str, signal: Signal) -> Score:
    """`attack` with a signal that reads token statistics alone."""
    return attack(have, members, others, membership_needs(members, others), by_tokens(have, signal))


def attack(
    have: Measurements, members: str, others: str, needs: Sequence[Need], read: Read, *, note: str = ""
) -> Score:
    """AUC of the signal; the retrained model's AUC goes beside it when there is one.

    Args:
        have: The measurements.
        members: Split of the members.
        others: Split of the non-members.
        needs: What `read` reads: of members and others on the subject, then of both on the retrained model.
        read: The signal.
        note: Said before the other notes.

    Returns:
        value: AUC in [0, 1]; .5 is chance.
        per_example: the signal of members and non-members.
        extra: two_sided = |AUC − ½| (an AUC far below ½ tells members apart just as well), and with a retrained model
            retrained_auc and excess = AUC − retrained_auc.
    """
    if reason := obstacle(have, *needs[:2]):
        return unscored(reason)
    inside, outside = read(members, "subject"), read(others, "subject")
    if reason := unusable({members: inside, others: outside}):
        return unscored(reason)
    rows = (have.rows(members), have.rows(others))
    auc = stats.auc(inside, outside, entities(*rows))
    extra = {"two_sided": abs(auc.value - 0.5), "members": float(len(inside)), "others": float(len(outside))}
    if not obstacle(have, *needs[2:]):
        twins = {members: read(members, "retrained"), others: read(others, "retrained")}
        if not unusable(twins):
            extra["retrained_auc"] = stats.area(list(twins[members].values()), list(twins[others].values()))
            extra["excess"] = auc.value - extra["retrained_auc"]
    lacking = "answer token"
    notes = join(note, left_out(inside, rows[0], lacking), left_out(outside, rows[1], lacking), auc.note)
    return Score(auc.value, finite({**outside, **inside}), auc.n, auc.ci, notes, auc.clusters, extra)


def unusable(signals: dict[str, dict[str, float]]) -> str:
    """Why signals by split give no AUC, or ""."""
    for split, found in signals.items():
        if not found:
            return f"no row of split {split!r} has an answer token"
    return broken({i: value for found in signals.values() for i, value in found.items()})
