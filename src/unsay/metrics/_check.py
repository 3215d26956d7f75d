"""The contract of every metric, ours or another distribution's: run it with ``check_metric(MyMetric())`` in a test."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..data.example import Example
from ..errors import UnsayError
from ..naming import digest
from .have import Answers, AnswerStats, EntityTable, FirstChoice, LayerStats, Measurements, Mixed, Verdict
from .needs import (
    EntitySimilarity,
    FirstToken,
    Generations,
    GradNorms,
    Inference,
    Judged,
    Lens,
    MixedStats,
    Need,
    TextSimilarity,
    TokenStats,
)
from .score import Metric, Score, metric_id

_ALTERNATIVES = {"paraphrased": 1, "perturbed": 4, "refusal": 1, "paraphrased_question": 1}
_NO_ENDS = np.zeros(0, np.int32)
_REASON = "this need was withheld by the check"
Tweak = Callable[[AnswerStats], AnswerStats]


def check_metric(metric: Metric) -> None:
    """Checks a metric on made-up measurements; takes a fraction of a second.

    1 a frozen, hashable dataclass; 2 `needs` a non-empty tuple, the same every time; 3 reads nothing undeclared;
    4 pure; 5 the order of rows changes nothing; 6 a missing need gives a score or a reason that repeats why; 7 no rows,
    one row, one entity, rows without alternatives, one-token answers, empty generations, equal values, p = 0 and NaN
    log-probabilities give a finite number or a reason, without numpy warnings; 8 `per_example` is finite and has ids of
    the rows, the interval is ordered, `extra` is finite.

    Raises:
        UnsayError: listing every clause that does not hold.
    """
    problems = [*_shape(metric)]
    if not problems:
        problems += _behaviour(metric)
    if problems:
        name = type(metric).__name__
        raise UnsayError("\n".join(f"{name}: {p}" for p in problems), "see the contract in unsay.testing.check_metric")


def made_up(
    needs: Sequence[Need],
    *,
    rows: int = 12,
    text: str = "a b c a b c d",
    tweak: Tweak | None = None,
    bare: bool = False,
    per: int = 2,
) -> Measurements:
    """Random measurements that answer `needs`: every split has `rows` rows of entities of `per` rows each.

    Args:
        needs: What to answer.
        rows: Rows in each split.
        text: What every generation ends with, after the right answer in every other row; "" makes them all empty.
        tweak: Applied to the statistics of every answer.
        bare: Rows have no alternatives at all, so needs that ask for one get empty tuples.
        per: Rows of each entity; 0 names no entity.
    """
    names = dict.fromkeys(name for n in needs for name in _splits(n))
    splits = {name: tuple(_row(name, i, bare, per) for i in range(rows)) for name in names}
    answers: dict[Need, Answers] = {}
    for need in needs:
        if isinstance(need, Generations):
            written = [
                (r, f"{r.answer} {text}" if text and not i % 2 else text) for i, r in enumerate(splits[need.split])
            ]
            answers[need] = {
                r.id: () if bare and need.prompt != "prompt" else (said,) * _runs(need) for r, said in written
            }
        elif isinstance(need, Judged):
            answers[need] = {r.id: _judged(need, r, text, tweak) * _runs(need) for r in splits[need.split]}
        else:
            stats = {r.id: _answers(need, r, tweak) for name in _splits(need) for r in splits[name]}
            answers[need] = {i: _reduced(need, of) for i, of in stats.items()}  # type: ignore[assignment]
    return Measurements(splits=splits, answers=answers)


def _splits(need: Need) -> tuple[str, ...]:
    return (need.split, need.kept) if isinstance(need, MixedStats) else (need.split,)


def _runs(need: Generations | Judged) -> int:
    return need.sampling.runs if need.sampling else 1


def _row(split: str, i: int, bare: bool, per: int) -> Example:
    kinds = {} if bare else {k: tuple(f"{k} {split} {i} {j}" for j in range(n)) for k, n in _ALTERNATIVES.items()}
    meta = {"entity": f"{split}{i // per}"} if per else {}
    return Example(f"{split} question {i}?", f"{split} answer {i}", alternatives=kinds, meta=meta)


def _reduced(need: Need, stats: Sequence[AnswerStats]) -> tuple[Any, ...]:
    """What `need` asks for, made of token statistics, so that every degenerate case reaches it too."""
    if isinstance(need, GradNorms):
        return tuple(-float(np.sum(a.logp)) for a in stats if len(a.logp))
    if isinstance(need, FirstToken):
        return tuple(FirstChoice(float(a.logp[0]), int(a.rank[0])) for a in stats if len(a.logp))
    if isinstance(need, MixedStats):
        return tuple(Mixed(a, 0.5) for a in stats)
    return tuple(LayerStats(a.logp, a.rank) for a in stats) if isinstance(need, Lens) else tuple(stats)


def _judged(need: Judged, row: Example, text: str, tweak: Tweak | None) -> tuple[Any, ...]:
    """One made-up judgement of one generation; of an empty one where `text` is empty."""
    if need.prompt != "prompt" and not row.answers(need.prompt):
        return ()
    rng = np.random.default_rng(int(digest([dataclasses.astuple(need), row.id, text], 6), 16))
    if isinstance(need, Inference):
        return (Verdict(*map(float, rng.dirichlet([1.0, 1.0, 1.0]))),)
    if isinstance(need, TextSimilarity):
        return (float(rng.uniform(0.0, 1.0)) if text else 0.0,)
    if isinstance(need, EntitySimilarity):
        gold, said = (tuple(f"{kind}{i}" for i in range(rng.integers(0, 5))) for kind in ("gold", "said"))
        said = said if text else ()
        return (EntityTable(gold, said, rng.uniform(0.0, 1.0, (len(said), len(gold))).astype(np.float32)),)
    length = int(rng.integers(2, 9)) if text else 1
    level = -rng.gamma(1.0, 1.0, length).astype(np.float32)
    one = AnswerStats(level, np.zeros(length, np.int32), level, level, text)
    return (tweak(one) if tweak else one,)


def _answers(
    need: TokenStats | GradNorms | Lens | FirstToken | MixedStats, row: Example, tweak: Tweak | None
) -> tuple[AnswerStats, ...]:
    if need.prompt != "prompt" and not row.answers(need.prompt):
        return ()
    stats, placed = [], isinstance(need, TokenStats) and need.ends
    for text in row.answers("answer" if isinstance(need, FirstToken) else need.answer):
        rng = np.random.default_rng(int(digest([dataclasses.astuple(need), row.id, text], 6), 16))
        length = int(rng.integers(2, 9))
        one = AnswerStats(
            logp=-rng.gamma(1.0, 1.0, length).astype(np.float32),
            rank=rng.integers(0, 2, length).astype(np.int32),
            vocab_mean=-rng.gamma(4.0, 1.0, length).astype(np.float32),
            vocab_std=rng.gamma(4.0, 0.5, length).astype(np.float32),
            text=text,
            ends=np.arange(1, length + 1, dtype=np.int32) * len(text) // length if placed else _NO_ENDS,
        )
        stats.append(tweak(one) if tweak else one)
    return tuple(stats)


def _shape(metric: Metric) -> list[str]:
    if not dataclasses.is_dataclass(metric) or not type(metric).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return ["is not a frozen dataclass"]
    problems = []
    if not (type(metric).__doc__ or "").strip():
        problems.append("has no docstring")
    if hash(metric) != hash(dataclasses.replace(metric)):
        problems.append("its copies have different hashes")
    if not isinstance(metric.needs, tuple) or not metric.needs:
        problems.append("`needs` is not a non-empty tuple")
    elif metric.needs != metric.needs or len(set(metric.needs)) != len(metric.needs):
        problems.append("`needs` changes or repeats itself")
    if metric_id(metric) != metric_id(dataclasses.replace(metric)):
        problems.append("its id changes")
    return problems


def _behaviour(metric: Metric) -> list[str]:
    needs = metric.needs
    have = made_up(needs)
    first, problems = _scored(metric, have, "made-up rows")
    if first is None:
        return problems
    if not first.scored:
        problems.append(f"made-up rows with every need answered give no number: {first.note}")
    if not same(first, metric.score(have)):
        problems.append("the same measurements give another score the second time")
    if not same(first, metric.score(_turned(have))):
        problems.append("the order of the rows changes the score")
    for name, case in _degenerate(needs).items():
        problems += _scored(metric, case, name)[1]
    for need in needs:
        rest = {n: a for n, a in have.answers.items() if n != need}
        found, more = _scored(metric, Measurements(have.splits, rest, {need: _REASON}), f"without {need}")
        problems += more
        if found and not found.scored and _REASON not in found.note:
            problems.append(f"without {need} the note does not repeat the reason: {found.note!r}")
    nothing, more = _scored(metric, Measurements(have.splits, {}, dict.fromkeys(needs, _REASON)), "without any need")
    if nothing and nothing.scored:
        problems.append("gives a number although nothing was measured")
    return problems + more


def _degenerate(needs: Sequence[Need]) -> Mapping[str, Measurements]:
    def one_token(a: AnswerStats) -> AnswerStats:
        return AnswerStats(a.logp[:1], a.rank[:1], a.vocab_mean[:1], a.vocab_std[:1], a.text, a.ends[-1:])

    def no_token(a: AnswerStats) -> AnswerStats:
        return AnswerStats(a.logp[:0], a.rank[:0], a.vocab_mean[:0], a.vocab_std[:0], "")

    def filled(logp: float, std: float = 0.0) -> Tweak:
        def tweak(a: AnswerStats) -> AnswerStats:
            level = np.full_like(a.logp, logp)
            return AnswerStats(level, np.zeros_like(a.rank), level, np.full_like(a.logp, std), a.text, a.ends)

        return tweak

    return {
        "no splits": Measurements({}, {}),
        "one row": made_up(needs, rows=1),
        "two rows": made_up(needs, rows=2),
        "one entity": made_up(needs, per=12),
        "no entity": made_up(needs, per=0),
        "rows without alternatives": made_up(needs, bare=True),
        "one-token answers": made_up(needs, tweak=one_token),
        "answers without a token": made_up(needs, tweak=no_token),
        "empty generations": made_up(needs, text=""),
        "equal values": made_up(needs, tweak=filled(-1.0, 1.0)),
        "a certain model": made_up(needs, tweak=filled(0.0)),
        "p = 0": made_up(needs, tweak=filled(-math.inf)),
        "NaN log-probabilities": made_up(needs, tweak=filled(math.nan)),
    }


def _turned(have: Measurements) -> Measurements:
    """The same measurements with every list and table in reverse order."""
    answers = {need: dict(reversed(list(table.items()))) for need, table in reversed(list(have.answers.items()))}
    return Measurements({split: tuple(reversed(rows)) for split, rows in have.splits.items()}, answers)  # type: ignore[arg-type]


def _scored(metric: Metric, have: Measurements, case: str) -> tuple[Score | None, list[str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            found = metric.score(have)
    except Exception as error:  # any exception at all breaks the contract, and the check lists them together
        return None, [f"{case}: raised {type(error).__name__}: {error}"]
    ids = {row.id for rows in have.splits.values() for row in rows}
    problems = []
    if math.isinf(found.value) or (math.isnan(found.value) and not found.note):
        problems.append(f"{case}: value {found.value} with note {found.note!r}")
    if found.ci and not found.ci[0] <= found.ci[1]:
        problems.append(f"{case}: interval {found.ci} is not ordered")
    if found.scored and not found.n > 0:
        problems.append(f"{case}: a number from n = {found.n} examples")
    if not set(found.per_example) <= ids:
        problems.append(f"{case}: per_example has ids that are not in the rows")
    if not set(found.labels) <= set(found.per_example):
        problems.append(f"{case}: labels has ids that are not in per_example")
    if not all(math.isfinite(v) for v in found.per_example.values()):
        problems.append(f"{case}: per_example is not finite")
    if not all(math.isfinite(v) for v in found.extra.values()):
        problems.append(f"{case}: extra is not finite: {dict(found.extra)}")
    return found, problems


def same(a: Score, b: Score) -> bool:
    """Whether two scores are equal, NaN equal to NaN, rounding of sums in another order (1e-12) allowed."""

    def near(x: Any, y: Any) -> bool:
        return bool(np.allclose(np.asarray(x, float), np.asarray(y, float), rtol=1e-12, atol=1e-12, equal_nan=True))

    return (
        near(a.value, b.value)
        and (a.ci is None) == (b.ci is None)
        and (a.ci is None or near(a.ci, b.ci))
        and (a.n, a.note, a.clusters, a.labels) == (b.n, b.note, b.clusters, b.labels)
        and a.per_example.keys() == b.per_example.keys()
        and all(near(v, b.per_example[k]) for k, v in a.per_example.items())
        and a.extra.keys() == b.extra.keys()
        and all(near(v, b.extra[k]) for k, v in a.extra.items())
    )
