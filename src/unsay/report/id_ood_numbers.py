"""What the walks of the id-ood experiment come to: steps, costs, trade-offs, and the tests of its two hypotheses.

A walk is a list of points by step; quality is the mean exposure of its rows against that of rows never seen, cost the
rise of the loss on clean held-out sentences since step 0, nats per token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev
from typing import Any

from scipy import special

from .. import stats

ID = "in-distribution"
NATS, SHARE, WALKED = "memorised, nats per token", "share memorised", "in the walked model"
"""What pairs match by, and in which model."""
Points = Sequence[Mapping[str, Any]]
QUALITIES = tuple(round(0.1 * k, 1) for k in range(1, 11))
"""Shares of the way to rows never seen at which costs are read for a trade-off."""
_EARLY = 5
"""Steps over which a decay rate is read."""
_FLOOR = 0.01
"""Least cost that a logarithm is taken of, nats per token."""


@dataclass(frozen=True)
class Reached:
    """When a walk comes to a level."""

    steps: float
    """Between two measured steps by a straight line; the last measured step when it never does."""
    cost: float
    """Rise of the held-out loss by then."""
    whole: bool
    """Whether the level was reached; otherwise both numbers are least values."""


@dataclass(frozen=True)
class Comparison:
    """A paired comparison over seeds, out of distribution − in distribution."""

    difference: stats.Difference
    effect: float
    """d_z: mean of the differences over their standard deviation; NaN with fewer than two seeds, or no spread."""
    effect_ci: tuple[float, float] | None
    """95 % interval of d_z for differences of a normal law; None without d_z."""
    short: tuple[int, int] = (0, 0)
    """Walks in and out of distribution that end before the level: what is read of them is a least value."""
    holm: float = math.nan
    """p adjusted over the hypotheses; NaN for what belongs to none."""

    @property
    def censored(self) -> bool:
        """Whether short walks may have made the sign: those in distribution a positive one, the others a negative."""
        return self.short[self.difference.value < 0] > 0


def reached(points: Points, by: str = "exposure") -> Reached:
    """When rows are as never seen.

    Args:
        points: Of one walk.
        by: ``exposure``: the mean is at chance; ``relex`` or ``genex``: it is 0.
    """
    gaps = [_gap(point, by) for point in points]
    costs = [point["test"] - points[0]["test"] for point in points]
    for at, gap in enumerate(gaps):
        if gap <= 0:
            if at == 0:
                return Reached(float(points[0]["step"]), 0.0, True)
            share = gaps[at - 1] / (gaps[at - 1] - gap) if gaps[at - 1] > gap else 1.0
            first, then = points[at - 1]["step"], points[at]["step"]
            return Reached(first + share * (then - first), costs[at - 1] + share * (costs[at] - costs[at - 1]), True)
    return Reached(float(points[-1]["step"]), costs[-1], False)


def _gap(point: Mapping[str, Any], by: str) -> float:
    return float(point[by] - point["chance"] if by == "exposure" else point[by])


def way(points: Points) -> list[tuple[float, float]]:
    """(share of the way to rows never seen, cost) of each point; 1 is there, beyond it is over-forgotten."""
    start = _gap(points[0], "exposure")
    if start <= 0:
        return []
    return [(1 - _gap(p, "exposure") / start, p["test"] - points[0]["test"]) for p in points]


def trade_off(points: Points) -> float:
    """Mean cost at which each of `QUALITIES` is first reached; less is better. NaN where there was no way to go.

    A quality that is never reached counts with the last cost, which is the least that it can be.
    """
    line = way(points)
    if not line:
        return math.nan
    found = []
    for quality in QUALITIES:
        at = next((k for k, (share, _) in enumerate(line) if share >= quality - 1e-12), None)
        if at is None:
            found.append(line[-1][1])
            continue
        if at == 0:
            found.append(line[0][1])
            continue
        (before, low), (after, high) = line[at - 1], line[at]
        found.append(low + (quality - before) / (after - before) * (high - low))
    return fmean(found)


def decay(points: Points) -> float:
    """Rise of the held-out loss a step, over the first steps."""
    early = [point for point in points if point["step"] <= _EARLY]
    return float((early[-1]["test"] - early[0]["test"]) / max(1, early[-1]["step"]))


def halfway(points: Points, steps: float) -> float:
    """Rise of the held-out loss at the measured step nearest to half of `steps`; NaN where a walk did not get there."""
    if points[-1]["step"] < steps / 2:
        return math.nan
    nearest = min(points, key=lambda point: abs(point["step"] - steps / 2))
    return float(nearest["test"] - points[0]["test"])


READ: dict[str, Callable[[Points, float], float]] = {
    "steps": lambda points, _: reached(points).steps,
    "cost": lambda points, _: reached(points).cost,
    "trade-off": lambda points, _: trade_off(points),
    "decay": lambda points, _: decay(points),
    "cost halfway": halfway,
    "steps by relex": lambda points, _: reached(points, "relex").steps,
    "steps by genex": lambda points, _: reached(points, "genex").steps,
    "cost by genex": lambda points, _: reached(points, "genex").cost,
}
"""Name of a number → how it is read from a walk and the steps that walks have."""
HYPOTHESES = ("steps", "cost")
"""Numbers that H1 and H2 are about; their p-values for each kind are one family."""
_BY = {
    "steps": "exposure",
    "cost": "exposure",
    "trade-off": "exposure",
    "steps by relex": "relex",
    "steps by genex": "genex",
    "cost by genex": "genex",
}
"""Name of a number → the measure whose level a walk should reach for it."""


def by_seed(found: Mapping[str, Any], name: str, number: str) -> dict[str, float]:
    """A number of one forget set by seed; seeds without it are absent."""
    steps = found["about"]["train"]["epochs"]
    values = {str(one["seed"]): READ[number](walk["points"], steps) for one, walk in _walks(found, name)}
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def _walks(found: Mapping[str, Any], name: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(one, one["sets"][name]) for one in found["seeds"] if name in one["sets"]]


def ended(found: Mapping[str, Any], names: Sequence[str], by: str) -> tuple[int, int]:
    """Of the walks of the forget sets `names`: how many end before the level of `by`, and how many there are."""
    whole = [reached(walk["points"], by).whole for name in names for _, walk in _walks(found, name)]
    return whole.count(False), len(whole)


def compared(found: Mapping[str, Any], number: str, kind: str = "") -> Comparison:
    """A number out of distribution − in distribution, paired by seed; "" averages the kinds within a seed."""
    kinds = [kind] if kind else found["about"]["settings"]["kinds"]
    sides: list[dict[str, float]] = []
    for prefix in ("", f"{ID} for "):
        tables = [by_seed(found, f"{prefix}{each}", number) for each in kinds]
        shared = set.intersection(*(set(table) for table in tables))
        sides.append({seed: fmean(table[seed] for table in tables) for seed in sorted(shared)})
    gaps = [sides[0][seed] - sides[1][seed] for seed in sorted(sides[0].keys() & sides[1].keys())]
    middle, spread = (fmean(gaps), stdev(gaps)) if len(gaps) > 1 else (math.nan, math.nan)
    # differences that are the same but for rounding have no spread to speak of
    effect = middle / spread if spread > 1e-3 * abs(middle) else math.nan
    names = [[f"{ID} for {each}" for each in kinds], kinds]
    short = [ended(found, side, _BY[number])[0] if number in _BY else 0 for side in names]
    difference = stats.paired_difference(sides[0], sides[1], {})
    return Comparison(difference, effect, _effect_ci(effect, len(gaps)), (short[0], short[1]))


def _effect_ci(effect: float, n: int) -> tuple[float, float] | None:
    """The d_z under which one as large, or as small, has probability .025: √n·d_z is a noncentral t."""
    if not math.isfinite(effect):
        return None
    low, high = (float(special.nctdtrinc(n - 1, p, effect * math.sqrt(n))) / math.sqrt(n) for p in (0.975, 0.025))
    return low, high


def comparisons(found: Mapping[str, Any]) -> dict[str, dict[str, Comparison]]:
    """Number → kind ("" for all together) → comparison; Holm's p-values are over both hypotheses and all kinds."""
    kinds = found["about"]["settings"]["kinds"]
    made = {number: {kind: compared(found, number, kind) for kind in ("", *kinds)} for number in READ}
    family = {f"{number} {kind}": made[number][kind].difference.p for number in HYPOTHESES for kind in kinds}
    # what could not be tested counts as a test that found nothing
    for name, p in stats.holm({name: p if math.isfinite(p) else 1.0 for name, p in family.items()}).items():
        number, _, kind = name.partition(" ")
        made[number][kind] = replace(made[number][kind], holm=p)
    return made


def enough(tests: int) -> int:
    """Fewest seeds with which the least p-value of a sign-flip test is below .05 after Holm's over so many tests."""
    return next(n for n in range(1, 99) if tests * 2 / 2**n < 0.05)


def rows_reached(points: Points) -> dict[str, float]:
    """First measured step at which each row is at or below chance; inf for one that never is."""
    found = dict.fromkeys(points[0]["rows"], math.inf)
    for point in reversed(points):
        found |= {i: float(point["step"]) for i, x in point["rows"].items() if x <= point["chance"]}
    return found


def median_steps(points: Points) -> tuple[float, float]:
    """Median of `rows_reached` (inf where half of the rows never are) and share of rows that are."""
    steps = list(rows_reached(points).values())
    return median(steps), fmean(math.isfinite(x) for x in steps)


def oddness(one: Mapping[str, Any], name: str) -> float:
    """Mean OOD score of a forget set: z of its rows' loss against clean sentences, under a model that saw neither."""
    level = one["level"]
    losses = [one["rows"][i]["unknown"] for i in one["sets"][name]["ids"]]
    return float((fmean(losses) - level["mean"]) / max(level["sd"], 1e-9))


def slopes(found: Mapping[str, Any]) -> dict[str, stats.Estimate]:
    """How ln steps and ln cost change with ln(1 + OOD score), over the sets of a seed: means of the seeds' slopes."""
    sums: dict[str, dict[str, float]] = {"steps": {}, "cost": {}}
    for one in found["seeds"]:
        at = [math.log1p(max(0.0, oddness(one, name))) for name in one["sets"]]
        ends = [reached(walk["points"]) for walk in one["sets"].values()]
        for number, values in (
            ("steps", [math.log(max(1.0, end.steps)) for end in ends]),
            ("cost", [math.log(max(_FLOOR, end.cost)) for end in ends]),
        ):
            slope = _slope(at, values)
            if math.isfinite(slope):
                sums[number][str(one["seed"])] = slope
    return {number: stats.mean(values, {}) for number, values in sums.items() if values}


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    middle, height = fmean(x), fmean(y)
    spread = sum((a - middle) ** 2 for a in x)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / spread if spread > 1e-12 else math.nan


def balance(one: Mapping[str, Any], kind: str) -> Iterator[tuple[str, float, float]]:
    """(what, in distribution, out of distribution) means of the pairs: how well they match.

    The last two are of the model that is walked, which the estimates before them are not: how far its loss on the rows
    is below that on references of their kind, and the share of the latter that this is.
    """
    sides = list(zip(*one["pairs"][kind], strict=True))
    for what, read in (
        (NATS, lambda row: row["memorisation"]),
        ("loss without the row, nats per token", lambda row: row["difficulty"]),
        (SHARE, lambda row: row["memorisation"] / max(row["difficulty"], 1e-6)),
    ):
        inside, outside = (fmean(read(one["rows"][i]) for i in side) for side in sides)
        yield what, inside, outside
    starts = [one["sets"][name]["points"][0] for name in (f"{ID} for {kind}", kind)]
    gone = [(point["relex"], point["forget"] + point["relex"]) for point in starts]
    yield f"{NATS}, {WALKED}", gone[0][0], gone[1][0]
    shares = [nats / max(level, 1e-6) for nats, level in gone]
    yield f"{SHARE}, {WALKED}", shares[0], shares[1]


def gaps(found: Mapping[str, Any], kind: str) -> dict[str, float]:
    """Mean over seeds of out − in distribution in what the pairs match by, as estimated and in the walked model."""
    feature = SHARE if found["about"]["settings"]["match"] == "share" else NATS
    lines = [line for one in found["seeds"] if one["pairs"].get(kind) for line in balance(one, kind)]
    wanted = (feature, f"{feature}, {WALKED}")
    return {what: fmean(out - inside for name, inside, out in lines if name == what) for what in wanted if lines}
