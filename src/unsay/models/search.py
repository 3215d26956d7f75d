"""How far to go: the longest step within a bound, and the longest mix that keeps what is to be kept."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import MethodError

_DOUBLINGS, _HALVINGS = 20, 6


def longest_step(
    loss: Callable[[float], float],
    bound: float,
    first: float,
    *,
    most: float = math.inf,
    doublings: int = _DOUBLINGS,
    halvings: int = _HALVINGS,
) -> float:
    """The largest step that keeps `loss` within `bound`: bracketed by doubling (or halving), then bisected.

    A loss that is not finite counts as out of bounds. Where the loss crosses the bound more than once, the result is
    the crossing that lies between the last doubling within and the first one beyond.

    Args:
        loss: Loss after a step of this length; called `doublings` + `halvings` times at most, usually about ten times.
        bound: What the loss must not exceed.
        first: The first length tried, above 0.
        most: No step is longer than this.
        doublings: How often the length is doubled, or halved, to find the bracket.
        halvings: How often the bracket is halved: 6 gives the length to 1.6 % of the bracket.

    Returns:
        A length above 0 for which `loss` was called and found within the bound.

    Raises:
        MethodError: even the shortest step tried goes beyond the bound.
    """

    def within(length: float) -> bool:
        value = loss(length)
        return math.isfinite(value) and value <= bound

    low, high = bracket(within, first, most=most, doublings=doublings, halvings=doublings)
    if low == 0:
        raise MethodError(
            f"no step along the direction, however short, keeps the retain loss within {bound:.4g}",
            "raise method.tolerance, or give retain rows that the model knows",
        )
    if low == high:
        return low
    for _ in range(halvings):
        middle = (low + high) / 2
        if within(middle):
            low = middle
        else:
            high = middle
    return low


def bracket(
    within: Callable[[float], bool], first: float, *, most: float, doublings: int, halvings: int
) -> tuple[float, float]:
    """Two lengths between which a bound is crossed, by doubling where the first is within, else by halving.

    Args:
        within: Whether a length is within the bound.
        first: The first length tried, above 0.
        most: No length is longer than this.
        doublings: How often the length is doubled.
        halvings: How often it is halved.

    Returns:
        The last length within, and the next one tried beyond it; 0 and a length beyond when none was within, the same
        length twice when none was beyond.
    """
    low = high = min(first, most)
    if within(high):
        for _ in range(doublings):
            if low >= most:
                break
            high = min(2 * low, most)
            if not within(high):
                return low, high
            low = high
        return low, low
    for _ in range(halvings):
        low = high / 2
        if within(low):
            return low, high
        high = low
    return 0.0, high


def largest_share(known: Callable[[float], float], keep: float, *, halvings: int = 7) -> float:
    """The largest s in [0, 1] with known(s) ≥ keep · known(0), to 1/128 of its bracket; 0 where only s = 0 has it.

    Calibration before comparison, Wang et al. 2025 (arXiv:2406.09179). A value that is not finite is not enough.

    Args:
        known: How much is known at s; called about ten times at most, s = 0 first.
        keep: Share that must be left.
        halvings: As in `longest_step`.
    """
    least = keep * known(0.0)
    try:
        return longest_step(lambda s: least - known(s), 0.0, 1.0, most=1.0, doublings=8, halvings=halvings)
    except MethodError:
        return 0.0
