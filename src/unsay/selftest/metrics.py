r"""The metrics of forgetting judged themselves: do they tell models that know from models that do not, and stay put?

    faithfulness = AUC(m(P), m(N))                     P models that know the forget rows, N models that do not
    R = min(1, (m_r^a − m_r^b) / (m_u^a − m_u^b))      relearning; u unlearned, r retrained, a after, b before
    Q = min(1, m_u^b / m_u^a)                          quantisation; both are 1 when nothing comes back
    robustness = harmonic mean of R and Q              overall = harmonic mean of faithfulness and robustness

The prose of the paper has a and b the other way round: R is the same then, Q becomes min(1, m_u^a / m_u^b), which
punishes what disappears instead of what comes back. Both are given, and so are the symmetric forms
1 − |Δu − Δr| / (|Δu| + |Δr|) and 1 − |a − b| / (|a| + |b|).

Paper    Dorna et al. (2025). OpenUnlearning: Accelerating LLM Unlearning via Unified Benchmarking of Methods and
         Metrics. arXiv:2506.12618
Limits   A tiny model and one drawing of facts: whether the metrics work as written, not a ranking for large models.
Differs  24 models instead of 60: taught the forget rows as they are or asked in other words; not taught them, or with
         wrong answers; three rates, two lengths. AUCs have intervals, models being what is resampled.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import stats
from ..data.example import Example
from ..metrics.exact_memorization import ExactMemorization
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.fact_probability import FactProbability
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.novel_recall import NovelRecall
from ..metrics.paraphrase_probability import ParaphraseProbability
from ..metrics.probability import Probability
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, metric_id
from ..metrics.truth_ratio import TruthRatio
from ..metrics.zlib_ratio import ZlibRatio
from ..runs.run import Run
from ..runs.store import Store
from .world import TEACH, World, taught, world

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.reporter import Reporter

METRICS: tuple[Metric, ...] = (
    ExtractionStrength(),
    ExactMemorization(),
    TruthRatio(aggregate="share"),
    ParaphraseProbability(reworded="question"),
    Probability(),
    FactProbability(),
    Rouge(max_new_tokens=8),
    NovelRecall(max_new_tokens=8),
    ZlibRatio(),
    MinK(k=0.4),
    LossAttack(),
    MinKPp(k=0.4),
)
"""All of them up with knowledge."""
UTILITY = 0.8
"""Share of the retain probability that an unlearned model must have kept to count."""
_KEPT = Probability(split="retain")
_RATES, _LENGTHS = (4e-3, 6e-3, 9e-3), (12, 18)
_UNLEARN = dataclasses.replace(TEACH, epochs=20)
_STEPS, _RELEARN_LR, _FORMAT = 2, 1e-3, "int4"

Scores = Mapping[str, float]
"""Metric → value of one model."""


def judge_metrics(seed: int = 0, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Make the models, measure all of them, judge every metric.

    Args:
        seed: Of the facts and of all trainings.
        reporter: Shows progress.

    Returns:
        What `unsay selftest metrics` writes: a row for each metric, best overall first.
    """
    drawn = world(seed)
    run = Run.temporary(TEACH, seed, reporter=reporter)
    measure = _Measure(drawn, run)
    knows, ignorant = ({n: measure(n, lm) for n, lm in models} for models in _trained(drawn, run))
    before = taught(drawn.taught, seed)
    control = taught(drawn.data.retain, seed)
    plain = {"before": measure("before", before), "retrained": measure("retrained", control)}
    attacked = {"retrained": _attacked(measure, "retrained", control, drawn, run)}
    for name, lm in _unlearned(before, drawn, run):
        plain[name] = measure(name, lm)
        attacked[name] = _attacked(measure, name, lm, drawn, run)
    rows = [_row(metric_id(metric), knows, ignorant, plain, attacked) for metric in METRICS]
    rows.sort(key=lambda row: -(row["overall"] or 0.0))
    counts = {"knowing": len(knows), "ignorant": len(ignorant), "unlearned": len(plain) - 2}
    return {"seed": seed, **counts, "models": {"plain": plain, "attacked": attacked}, "metrics": rows}


class _Measure:
    """Every metric on one model after the other."""

    def __init__(self, drawn: World, run: Run):
        data = drawn.data
        self._splits = {"forget": data.forget, "holdout": data.holdout, "retain": data.retain}
        self._run, self._store = run, Store(run.path("store"))

    def __call__(self, tag: str, lm: LM) -> dict[str, float]:
        from ..measure.evaluator import Evaluator

        judge = Evaluator(self._splits, (*METRICS, _KEPT), store=self._store, precision="fp32")
        judge.measure(tag, lm)
        return {name: score.value for name, score in judge.scores()[tag].items()}


def _trained(drawn: World, run: Run) -> Sequence[Iterator[tuple[str, LM]]]:
    """Models that know, and models that do not, by name."""
    data = drawn.data
    again = [row.with_prompt(row.alternatives["paraphrased_question"][0]) for row in data.forget]
    wrong = [dataclasses.replace(row, answer=row.alternatives["perturbed"][0], id="") for row in data.forget]
    sides: tuple[dict[str, Sequence[Example]], ...] = (
        {"as it is": data.forget, "reworded": again},
        {"never": (), "wrong": wrong},
    )

    def made(rows: Mapping[str, Sequence[Example]]) -> Iterator[tuple[str, LM]]:
        count = len(rows) * len(_RATES) * len(_LENGTHS)
        with run.progress("models that " + ("know" if rows is sides[0] else "do not know"), count, "models") as bar:
            for name, extra in rows.items():
                for rate in _RATES:
                    for length in _LENGTHS:
                        train = dataclasses.replace(TEACH, lr=rate, epochs=length)
                        yield f"{name} {rate:g} {length}", taught([*extra, *data.retain], drawn.seed, train)
                        bar.advance()

    return [made(rows) for rows in sides]


def _unlearned(before: LM, drawn: World, run: Run) -> Iterator[tuple[str, LM]]:
    """Two methods at three rates, so that some stop early and some go too far."""
    from ..methods.grad_diff import GradDiff
    from ..methods.npo import NPO

    with run.progress("unlearned models", 6, "models") as bar:
        for method in (GradDiff(), NPO()):
            for rate in (2e-3, 4e-3, 6e-3):
                name = f"{type(method).__name__.lower()}-{rate:g}"
                sub = run.sub(name, train=dataclasses.replace(_UNLEARN, lr=rate))
                yield name, method.unlearn(before, drawn.data, sub)
                bar.advance()


def _attacked(measure: _Measure, name: str, lm: LM, drawn: World, run: Run) -> Mapping[str, Scores]:
    from ..attacks.full_relearn import FullRelearn
    from ..attacks.quantisation import Quantisation

    relearn = FullRelearn(steps=(_STEPS,), lr=_RELEARN_LR)
    found = {}
    for kind, attack in (("relearn", relearn), ("quantise", Quantisation(formats=(_FORMAT,)))):
        (probe,) = attack.probes(lm, drawn.data, run.sub(f"{kind}-{name}"))
        found[kind] = measure(f"{name} {kind}", probe.lm)
    return found


def _row(
    metric: str,
    knows: Mapping[str, Scores],
    ignorant: Mapping[str, Scores],
    plain: Mapping[str, Scores],
    attacked: Mapping[str, Mapping[str, Scores]],
) -> dict[str, Any]:
    """One metric: how well it tells the models apart, and how it stands attacks on unlearned ones."""
    members = {f"knows {name}": scores[metric] for name, scores in knows.items()}
    others = {f"does not {name}": scores[metric] for name, scores in ignorant.items()}
    auc = stats.auc(members, others, {})
    limit = threshold(list(members.values()), list(others.values()))
    kept = metric_id(_KEPT)
    least = UTILITY * plain["before"][kept]
    forgot = [
        name
        for name, scores in plain.items()
        if name not in ("before", "retrained") and scores[kept] >= least and scores[metric] < limit
    ]
    retrained = plain["retrained"][metric], attacked["retrained"]["relearn"][metric]
    parts: dict[str, dict[str, float]] = {name: {} for name in FORMULAS}
    for name in forgot:
        was, relearned, quantised = plain[name][metric], *(attacked[name][k][metric] for k in ("relearn", "quantise"))
        for formula, of in FORMULAS.items():
            value = of(was, relearned if formula.startswith("R") else quantised, *retrained)
            if math.isfinite(value):
                parts[formula][name] = value
    means = {name: _estimate(values) for name, values in parts.items()}
    robust = harmonic(means["R"]["value"], means["Q"]["value"])
    return {
        "metric": metric,
        "faithfulness": {"value": auc.value, "ci": auc.ci, "note": auc.note},
        "threshold": limit,
        "unlearned": len(forgot),
        **means,
        "robustness": robust,
        "overall": harmonic(auc.value, robust),
    }


def _relearning(was: float, now: float, control: float, control_now: float) -> float:
    """R: what the control gains over what the unlearned model gains; 1 where that gains nothing."""
    gain = now - was
    return 1.0 if gain <= 0 else min(1.0, max(0.0, (control_now - control) / gain))


def _symmetric_relearning(was: float, now: float, control: float, control_now: float) -> float:
    one, other = now - was, control_now - control
    return 1 - abs(one - other) / (abs(one) + abs(other)) if one or other else math.nan


def _quantising(was: float, now: float, *_: float) -> float:
    """Q with a after and b before."""
    return min(1.0, was / now) if now > 0 else 1.0


def _quantising_as_in_prose(was: float, now: float, *_: float) -> float:
    """Q with a before and b after."""
    return min(1.0, now / was) if was > 0 else math.nan


def _symmetric_quantising(was: float, now: float, *_: float) -> float:
    return 1 - abs(now - was) / (abs(now) + abs(was)) if now or was else math.nan


FORMULAS: Mapping[str, Callable[..., float]] = {
    "R": _relearning,
    "R symmetric": _symmetric_relearning,
    "Q": _quantising,
    "Q as in the prose": _quantising_as_in_prose,
    "Q symmetric": _symmetric_quantising,
}
"""Name → f(unlearned before, unlearned after, retrained before, retrained after the attack)."""


def threshold(members: Sequence[float], others: Sequence[float]) -> float:
    """The value from which on a model is said to know: best by accuracy, the middle of a gap, the lowest of equals."""
    values = np.unique([*members, *others])
    cuts = [values[0], *((values[1:] + values[:-1]) / 2), math.inf]
    right = [sum(m >= cut for m in members) + sum(o < cut for o in others) for cut in cuts]
    return float(cuts[int(np.argmax(right))])


def harmonic(one: float | None, other: float | None) -> float | None:
    """Harmonic mean; None where a part is."""
    if one is None or other is None:
        return None
    return 2 * one * other / (one + other) if one + other > 0 else 0.0


def _estimate(values: Mapping[str, float]) -> dict[str, Any]:
    if not values:
        return {"value": None, "ci": None, "n": 0}
    found = stats.mean(values, {}, bounds=(0.0, 1.0))
    return {"value": found.value, "ci": found.ci, "n": found.n}
