"""What was measured, as files: benchmark.json, scores.json, samples.jsonl. Reports are made from these alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import registry
from .benchmarks import _suite
from .benchmarks._benchmark import Benchmark
from .metrics.score import Metric, Score, metric_id
from .runs.run import Run

if TYPE_CHECKING:
    from .measure.evaluator import Evaluator

_KINDS = {
    "model-utility": "utility",
    "repetition": "fluency",
    "fluency": "fluency",
    "linguistic-score": "fluency",
    "loss-attack": "privacy",
    "zlib-ratio": "privacy",
    "min-k": "privacy",
    "min-k-pp": "privacy",
    "privleak": "privacy",
    "reference-attack": "privacy",
    "gradient-norm": "privacy",
    "gibberish": "fluency",
    "distinct-n": "fluency",
    "refusal-rate": "fluency",
}


def write_scores(run: Run, benchmark: Benchmark, judge: Evaluator) -> None:
    """Write the scores of every model that `judge` has measured, and what they mean."""
    own = {metric_id(metric) for metric in benchmark.metrics()}
    more = [metric for metric in judge.metrics if metric_id(metric) not in own]
    wanted = {**_suite.directions(more, forget="match"), **benchmark.wanted()}
    about = {
        "name": registry.name_of(type(benchmark)),
        "cite": benchmark.cite,
        "headline": list(benchmark.headline()),
        "metrics": [metric_row(metric, wanted.get(metric_id(metric))) for metric in judge.metrics],
    }
    run.write_json("benchmark.json", about)
    found = judge.scores()
    run.write_json("scores.json", [score_row(tag, name, s) for tag, by in found.items() for name, s in by.items()])
    run.write_jsonl("samples.jsonl", judge.samples())


def score_row(tag: str, name: str, score: Score) -> dict[str, Any]:
    """One row of scores.json."""
    return {
        "model": tag,
        "metric": name,
        "split": name.partition("@")[2],
        "value": score.value if score.scored else None,
        "ci": list(score.ci) if score.ci else None,
        "n": score.n,
        "clusters": score.clusters,
        "note": score.note,
        "extra": dict(score.extra),
    }


def numbers(judge: Evaluator, tag: str) -> dict[str, Any]:
    """Metric id → the numbers of a row of scores.json, of one model, for experiments that keep many."""
    kept = ("value", "ci", "n", "clusters", "note", "extra")
    rows = (score_row(tag, name, score) for name, score in judge.scores()[tag].items())
    return {row["metric"]: {key: row[key] for key in kept} for row in rows}


def metric_row(metric: Metric, wanted: str | None) -> dict[str, Any]:
    """What benchmark.json says about one metric, which should go the `wanted` way."""
    name = metric_id(metric)
    base, _, split = name.partition("@")
    forgotten = wanted in ("down", "match")
    return {
        "id": name,
        "title": base.replace("-", " "),
        "split": split,
        "wanted": wanted,
        "kind": _KINDS.get(base) or ("forget" if forgotten or base == "forget-quality" else "utility"),
        "summary": registry.summary("metrics", registry.name_of(type(metric)))
        if registry.name_of(type(metric)) in registry.names("metrics")
        else (type(metric).__doc__ or "").strip().split("\n")[0],
    }
