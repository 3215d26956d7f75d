"""The seesaw: push one token down, and others rise without anybody having said which. numpy only.

With v before and u after unlearning, t1 and t2 the two likeliest tokens of v:

    S = p_v(t1) − p_u(t1)      suppression            H = p_u(t2) − p_v(t2)      hand-over
    ΔH = H(u) − H(v), nats     TV = ½ Σ |p_u − p_v|   J = overlap of the two sets of k likeliest tokens

The two stages are ReLearn's (Xu et al. 2025, arXiv:2502.11190, figures 1, 5 and 9), who show them and define no number;
all the numbers here, and where one stage ends, are ours. The first token alone is no proof of meaning: a model that
repeats one word with certainty counts as reconstructed, and only its text shows that it is not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STAGES = {
    "kept": "the likeliest token is the one of before",
    "handed-over": "stage 1: it is the second of before",
    "reshuffled": "it is another of the likeliest of before",
    "scattered": "stage 2: it is none of them, and the probability has spread",
    "reconstructed": "stage 3: it is none of them, and the probability has not spread",
}
CALM = 0.1
"""Nats by which the entropy may rise without the probability having spread."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Seesaw:
    """What became of one next-token distribution."""

    stage: str
    """Of `STAGES`."""
    suppression: float
    hand_over: float
    entropy_change: float
    """Nats."""
    top1: float
    """Probability of the likeliest token after."""
    jaccard: float
    total_variation: float

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def seesaw(before: Floats, after: Floats, k: int = 5) -> Seesaw:
    """Compare two distributions [V] over the same tokens (a vocabulary that grew: the new tokens had probability 0).

    Args:
        before: Log-probabilities.
        after: Log-probabilities.
        k: How many count as the likeliest; at least 2.
    """
    size = max(len(before), len(after))
    v, u = (np.pad(np.exp(p.astype(np.float64)), (0, size - len(p))) for p in (before, after))
    old, new = top(v, k), top(u, k)
    change = entropy(u) - entropy(v)
    first, second = int(old[0]), int(old[1])
    now = int(new[0])
    if now == first:
        stage = "kept"
    elif now == second:
        stage = "handed-over"
    elif now in old:
        stage = "reshuffled"
    else:
        stage = "scattered" if change > CALM else "reconstructed"
    both = {*map(int, old)}, {*map(int, new)}
    return Seesaw(
        stage=stage,
        suppression=float(v[first] - u[first]),
        hand_over=float(u[second] - v[second]),
        entropy_change=change,
        top1=float(u[now]),
        jaccard=len(both[0] & both[1]) / len(both[0] | both[1]),
        total_variation=float(np.abs(u - v).sum() / 2),
    )


def top(values: Floats, k: int) -> NDArray[np.intp]:
    """Places of the `k` largest values, largest first, the earlier of equals first."""
    return np.argsort(-values, kind="stable")[:k]


def entropy(p: Floats) -> float:
    """−Σ p ln p, nats."""
    positive = p[p > 0]
    return float(-(positive * np.log(positive)).sum())
