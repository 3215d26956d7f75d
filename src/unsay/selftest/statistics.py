"""The statistics on simulated data: errors of the first kind, coverage of intervals, power. It is the shipped code.

    type I     share of data without an effect in which a test at .05 finds one          wanted .03 … .07
    coverage   share of 95 % intervals that hold the true value                          wanted .90 … .98
    power      share of data with an effect in which it is found                         paired above unpaired

Rows come in clusters, as questions about one person do: x_ij = μ + √ρ·a_i + √(1−ρ)·e_ij. Names of rows differ from
simulation to simulation, so that no two share their resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from .. import contrast, stats
from ..naming import derive_seed
from ..resampling import Floats
from ..runs.reporter import NullReporter, Reporter

TYPE_I, COVERAGE = (0.03, 0.07), (0.90, 0.98)
_LEVEL = 0.05
_RHO = 0.5
"""Share of a row's variance that its cluster explains."""
_MARGIN = 0.8

Values = dict[str, float]
Simulation = Callable[[np.random.Generator, str], bool]
"""One set of data, drawn with the generator and named by the text → whether what is counted happened."""


@dataclass(frozen=True)
class Check:
    """A rate that is known when the statistics are right."""

    name: str
    kind: str
    """type I, coverage, or contrast: what goes wrong without clusters, shown and not judged."""
    wanted: tuple[float, float]
    simulate: Simulation


@dataclass(frozen=True)
class Rate:
    """What the simulations of a check gave."""

    name: str
    kind: str
    wanted: tuple[float, float]
    rate: float
    ci: tuple[float, float]
    """95 % Clopper–Pearson interval of the rate: how far so few simulations may mislead."""
    n: int

    @property
    def passed(self) -> bool | None:
        """Whether the rate is as wanted; None for what is only shown."""
        return None if self.kind == "contrast" else self.wanted[0] <= self.rate <= self.wanted[1]


@dataclass(frozen=True)
class Setting:
    """One row of the table of powers: `n` pairs correlated by `rho`, the second `shift` standard deviations higher."""

    n: int
    rho: float
    shift: float
    ks: float
    """Kolmogorov–Smirnov's rate as published."""


SETTINGS = (
    Setting(40, 0.0, 0.3, 0.22),
    Setting(40, 0.8, 0.0, 0.003),
    Setting(40, 0.8, 0.3, 0.087),
    Setting(40, 0.8, 0.5, 0.45),
    Setting(200, 0.8, 0.2, 0.32),
    Setting(400, 0.8, 0.2, 0.78),
)


@dataclass(frozen=True)
class Power:
    """Rates of rejection of both tests on the same data."""

    setting: Setting
    ks: Rate
    paired: Rate

    @property
    def passed(self) -> bool:
        """With a shift the paired test finds it more often; without one it keeps its level."""
        if self.setting.shift == 0:
            return bool(self.paired.passed)
        return self.paired.rate > self.ks.rate


def checks() -> list[Check]:
    """What `unsay selftest statistics` simulates besides the table of powers."""
    found = [Check(f"sign flip, {c} clusters", "type I", TYPE_I, _flip(c)) for c in (8, 12, 20, 40)]
    found += [
        Check("closer to retrained, 20 clusters", "type I", TYPE_I, _closer),
        Check("equivalence at the margin, 20 clusters", "type I", TYPE_I, _equivalent),
        Check("Holm, any of 10 tests, 12 clusters", "type I", (0.0, TYPE_I[1]), _holm),
    ]
    found += [Check(f"mean, {c} clusters", "coverage", COVERAGE, _mean(c)) for c in (8, 10, 20, 40)]
    found += [
        Check("mean of probabilities, 20 clusters", "coverage", COVERAGE, _probabilities),
        Check("paired difference, 12 clusters", "coverage", COVERAGE, _paired),
        Check("AUC, 20 and 20 clusters", "coverage", COVERAGE, _auc),
        Check("ratio of means, 20 clusters", "coverage", COVERAGE, _ratio),
        Check("Clopper–Pearson, rate .05 of 40", "coverage", (0.95, 1.0), _exact),
        Check("upper bound when none is seen, rate .02 of 40", "coverage", (0.95, 1.0), _none),
        Check("mean, 20 clusters taken for rows", "contrast", COVERAGE, _mean(20, clustered=False)),
        Check("sign flip, 20 clusters taken for rows", "contrast", TYPE_I, _flip(20, clustered=False)),
    ]
    return found


def run_checks(
    simulations: int = 1000, seed: int = 0, *, only: Sequence[Check] | None = None, reporter: Reporter | None = None
) -> list[Rate]:
    """Simulate every check.

    Args:
        simulations: Sets of data for each.
        seed: Of the data.
        only: The checks; None takes them all.
        reporter: Shows progress.
    """
    return [
        _rate(check.name, check.kind, check.wanted, hits)
        for check in (checks() if only is None else only)
        for hits in [_simulated(check.name, check.simulate, simulations, seed, reporter)]
    ]


def run_powers(
    simulations: int = 1000,
    seed: int = 0,
    *,
    only: Sequence[Setting] = SETTINGS,
    reporter: Reporter | None = None,
) -> list[Power]:
    """Simulate the published table: Kolmogorov–Smirnov against the paired sign-flip test."""
    found = []
    for setting in only:
        name = f"n={setting.n} ρ={setting.rho:g} shift={setting.shift:g}"
        hits = _simulated(name, lambda rng, tag, s=setting: _both(rng, tag, s), simulations, seed, reporter)  # type: ignore[misc]
        kind, wanted = ("type I", TYPE_I) if setting.shift == 0 else ("power", (0.0, 1.0))
        ks, paired = (_rate(name, kind, wanted, hits[:, k]) for k in (0, 1))
        found.append(Power(setting, ks, paired))
    return found


def document(rates: Sequence[Rate], powers: Sequence[Power]) -> dict[str, Any]:
    """What is kept of a self-test."""
    return {
        "checks": [{**_row(r), "kind": r.kind, "wanted": list(r.wanted), "passed": r.passed} for r in rates],
        "powers": [
            {
                "n": p.setting.n,
                "rho": p.setting.rho,
                "shift": p.setting.shift,
                "ks published": p.setting.ks,
                "ks": _row(p.ks),
                "paired": _row(p.paired),
                "passed": p.passed,
            }
            for p in powers
        ],
    }


def _row(rate: Rate) -> dict[str, Any]:
    return {"name": rate.name, "rate": rate.rate, "ci": list(rate.ci), "simulations": rate.n}


def _rate(name: str, kind: str, wanted: tuple[float, float], hits: Floats) -> Rate:
    return Rate(name, kind, wanted, float(hits.mean()), stats.clopper_pearson(int(hits.sum()), len(hits)), len(hits))


def _simulated(name: str, simulate: Callable[..., Any], count: int, seed: int, reporter: Reporter | None) -> Floats:
    rng = np.random.default_rng(derive_seed(seed, name))
    task = (reporter or NullReporter()).task(name, count, "simulations")
    hits = []
    for number in range(count):
        hits.append(simulate(rng, str(number)))
        task.advance()
    task.finish()
    return np.array(hits, dtype=np.float64)


def _drawn(
    rng: np.random.Generator, tag: str, clusters: int, *, rows: int = 4, middle: float = 0.0, side: str = "r"
) -> tuple[Values, dict[str, str]]:
    """Values by id and entities by id: normal, clustered, variance 1."""
    own = rng.normal(size=(clusters, 1)) * math.sqrt(_RHO) + rng.normal(size=(clusters, rows)) * math.sqrt(1 - _RHO)
    values = {f"{side}{tag}-{i}-{j}": float(own[i, j] + middle) for i in range(clusters) for j in range(rows)}
    return values, {name: name.rpartition("-")[0] for name in values}


def _zero(values: Mapping[str, float]) -> Values:
    return dict.fromkeys(values, 0.0)


def _holds(found: stats.Estimate, true: float) -> bool:
    return found.ci is not None and found.ci[0] <= true <= found.ci[1]


def _flip(clusters: int, *, clustered: bool = True) -> Simulation:
    def simulate(rng: np.random.Generator, tag: str) -> bool:
        values, entities = _drawn(rng, tag, clusters)
        return stats.sign_flip(values, entities if clustered else {}) <= _LEVEL

    return simulate


def _closer(rng: np.random.Generator, tag: str) -> bool:
    """The model lies half way: as far from retrained as from before."""
    noise, entities = _drawn(rng, tag, 20)
    control = {i: -1.0 for i in noise}
    before = {i: 1.0 for i in noise}
    return contrast.closer(noise, control, before, entities).p <= _LEVEL


def _equivalent(rng: np.random.Generator, tag: str) -> bool:
    values, entities = _drawn(rng, tag, 20, middle=_MARGIN)
    return stats.equivalence(values, _zero(values), entities, _MARGIN).verdict == "equivalent"


def _holm(rng: np.random.Generator, tag: str) -> bool:
    values = [_drawn(rng, f"{tag}.{k}", 12) for k in range(10)]
    adjusted = stats.holm({str(k): stats.sign_flip(*one) for k, one in enumerate(values)})
    return min(adjusted.values()) <= _LEVEL


def _mean(clusters: int, *, clustered: bool = True) -> Simulation:
    def simulate(rng: np.random.Generator, tag: str) -> bool:
        values, entities = _drawn(rng, tag, clusters)
        return _holds(stats.mean(values, entities if clustered else {}), 0.0)

    return simulate


def _probabilities(rng: np.random.Generator, tag: str) -> bool:
    """Skewed and bounded: Φ(x − 1), whose mean is Φ(−1/√2)."""
    values, entities = _drawn(rng, tag, 20, middle=-1.0)
    squeezed = {i: float(special.ndtr(x)) for i, x in values.items()}
    return _holds(stats.mean(squeezed, entities, bounds=(0.0, 1.0)), float(special.ndtr(-1 / math.sqrt(2))))


def _paired(rng: np.random.Generator, tag: str) -> bool:
    one, entities = _drawn(rng, tag, 12, middle=0.4)
    other, _ = _drawn(rng, tag, 12)
    return _holds(stats.paired_difference(one, other, entities), 0.4)


def _auc(rng: np.random.Generator, tag: str) -> bool:
    """Members one standard deviation higher: AUC Φ(1/√2)."""
    members, entities = _drawn(rng, tag, 20, middle=1.0, side="m")
    others, more = _drawn(rng, tag, 20, side="o")
    return _holds(stats.auc(members, others, entities | more), float(special.ndtr(1 / math.sqrt(2))))


def _ratio(rng: np.random.Generator, tag: str) -> bool:
    whole, entities = _drawn(rng, tag, 20, middle=3.0)
    part, _ = _drawn(rng, tag, 20, middle=0.0)
    return _holds(contrast.ratio({i: 0.5 * whole[i] + 0.5 * part[i] for i in whole}, whole, entities), 0.5)


def _exact(rng: np.random.Generator, tag: str) -> bool:
    low, high = stats.clopper_pearson(int(rng.binomial(40, 0.05)), 40)
    return low <= 0.05 <= high


def _none(rng: np.random.Generator, tag: str) -> bool:
    """Whatever was seen, the bound that is printed after nothing was seen is wrong in at most 5 of 100 cases."""
    bound = contrast.none_seen([f"r{tag}-{i}" for i in range(40)], {})
    return bool(rng.binomial(40, 0.02)) or bound >= 0.02


def _both(rng: np.random.Generator, tag: str, setting: Setting) -> tuple[bool, bool]:
    first = rng.normal(size=setting.n)
    second = setting.rho * first + math.sqrt(1 - setting.rho**2) * rng.normal(size=setting.n) + setting.shift
    differences = {f"r{tag}-{i}": float(x) for i, x in enumerate(second - first)}
    return stats.ks(first, second)[1] < _LEVEL, stats.sign_flip(differences, {}) < _LEVEL
