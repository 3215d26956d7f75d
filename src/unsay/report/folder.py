"""A run folder read into plain values. Whatever is missing stays empty, so that a failed run has a report as well."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.yaml12 import load
from ..errors import DamagedError, RunError

TAGS = ("before", "after", "retrained")
"""The models of a run, in the order in which they are shown; any other follows."""


@dataclass(frozen=True)
class Number:
    """One row of scores.json."""

    value: float | None
    """None when unscored; `note` says why."""
    ci: tuple[float, float] | None = None
    """95 % interval."""
    n: int = 0
    clusters: int = 0
    """Entities behind the interval; 0 when rows name none."""
    note: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)


UNSCORED = Number(None)


@dataclass(frozen=True)
class MetricInfo:
    """What benchmark.json says about one metric."""

    id: str
    title: str
    split: str = ""
    wanted: str | None = None
    """up, down, match (like the retrained model) or None (no judgement)."""
    kind: str = "other"
    """forget, utility, privacy, fluency or other."""
    summary: str = ""


@dataclass(frozen=True)
class Sample:
    """One example with every model's answer."""

    id: str
    split: str
    entity: str
    prompt: str
    target: str
    answers: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float | None]]
    """Metric id → model tag → value."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Metric id → model tag → the value in words, where it stands for a class."""


@dataclass(frozen=True)
class AttackPoint:
    """One attacked model, measured."""

    target: str
    """The model that was attacked: after, or a control (retrained)."""
    at: float
    label: str
    metric: str
    value: float | None
    ci: tuple[float, float] | None = None
    n: int = 0


@dataclass(frozen=True)
class AttackCurve:
    """What one attack did, by strength."""

    attack: str
    axis: str
    points: tuple[AttackPoint, ...]
    note: str = ""


@dataclass(frozen=True)
class RunFolder:
    """Everything a report is made from."""

    dir: Path
    manifest: Mapping[str, Any]
    plan_text: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    benchmark: str = ""
    cite: str = ""
    headline: tuple[str, ...] = ()
    metrics: tuple[MetricInfo, ...] = ()
    """In the benchmark's order; scored metrics that it does not list come last."""
    scores: Mapping[tuple[str, str], Number] = field(default_factory=dict)
    """By (model tag, metric id); attacked models have tags such as ``relearn/after/step-10``."""
    samples: tuple[Sample, ...] = ()
    attacks: tuple[AttackCurve, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def tags(self) -> list[str]:
        """Models that were measured as they are (not attacked ones): before, after, retrained, then others."""
        seen = {tag for tag, _ in self.scores if "/" not in tag} | {t for s in self.samples for t in s.answers}
        return [t for t in TAGS if t in seen] + sorted(t for t in seen if t not in TAGS and "/" not in t)

    def score(self, tag: str, metric: str) -> Number:
        """The number of one model on one metric, maybe unscored."""
        return self.scores.get((tag, metric), UNSCORED)

    def metric(self, metric_id: str) -> MetricInfo:
        """What is known about a metric, at least its id."""
        return next((m for m in self.metrics if m.id == metric_id), MetricInfo(metric_id, title=metric_id))


def read_run(run_dir: Path) -> RunFolder:
    """Read a run folder; only manifest.json must be there.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it is not what its name says.
    """
    if not (run_dir / "manifest.json").is_file():
        raise RunError(
            f"{run_dir} is not a run folder: it has no manifest.json", "give the folder that `unsay run` printed"
        )
    plan_text = (run_dir / "plan.yaml").read_text("utf-8") if (run_dir / "plan.yaml").is_file() else ""
    plan = load(plan_text, "plan.yaml") if plan_text else {}
    try:
        bench = _json(run_dir / "benchmark.json", {})
        harness = _json(run_dir / "harness.json", {})  # what lm-evaluation-harness asked the same models
        rows = [*_json(run_dir / "scores.json", []), *harness.get("scores", ())]
        scores = {(str(r["model"]), str(r["metric"])): _number(r) for r in rows}
        return RunFolder(
            dir=run_dir,
            manifest=_json(run_dir / "manifest.json", {}),
            plan_text=plan_text,
            plan=plan if isinstance(plan, Mapping) else {},
            benchmark=str(bench.get("name", "")),
            cite=str(bench.get("cite", "")),
            headline=tuple(map(str, bench.get("headline", ()))),
            metrics=_metrics([*bench.get("metrics", ()), *harness.get("metrics", ())], scores),
            scores=scores,
            samples=tuple(_sample(r) for r in _lines(run_dir / "samples.jsonl")),
            attacks=tuple(_attack(r) for r in _json(run_dir / "attacks.json", [])),
            events=tuple(_lines(run_dir / "events.jsonl", torn_end=True)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"{run_dir} cannot be read: {type(error).__name__} {error}", "evaluate the run again: unsay evaluate RUN"
        ) from error


def _json(path: Path, absent: Any) -> Any:
    if not path.is_file():
        return absent
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DamagedError(f"{path} is not JSON: {error}", "evaluate the run again: unsay evaluate RUN") from error


def _lines(path: Path, *, torn_end: bool = False) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")  # not splitlines: U+2028 may stand unescaped inside a JSON string
    rows: list[dict[str, Any]] = []
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            # events.jsonl is appended to while a run lives: a kill may leave half a line at its end.
            if torn_end and not any(rest.strip() for rest in lines[at:]):
                break
            raise DamagedError(
                f"{path}:{at} is not JSON: {error}", "evaluate the run again: unsay evaluate RUN"
            ) from error
    return rows


def finite(value: Any) -> float | None:
    """A JSON number as a float; None for null, NaN, infinities and anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _interval(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, Sequence) or len(value) != 2:
        return None
    low, high = finite(value[0]), finite(value[1])
    return None if low is None or high is None else (low, high)


def _number(row: Mapping[str, Any]) -> Number:
    return Number(
        value=finite(row.get("value")),
        ci=_interval(row.get("ci")),
        n=int(row.get("n") or 0),
        clusters=int(row.get("clusters") or 0),
        note=str(row.get("note") or ""),
        extra={str(k): v for k, raw in (row.get("extra") or {}).items() if (v := finite(raw)) is not None},
    )


def _metrics(rows: Sequence[Mapping[str, Any]], scores: Mapping[tuple[str, str], Number]) -> tuple[MetricInfo, ...]:
    known = [
        MetricInfo(
            id=str(r["id"]),
            title=str(r.get("title") or r["id"]),
            split=str(r.get("split") or ""),
            wanted=str(r["wanted"]) if r.get("wanted") else None,
            kind=str(r.get("kind") or "other"),
            summary=str(r.get("summary") or ""),
        )
        for r in rows
    ]
    listed = {m.id for m in known}
    for _, metric in scores:
        if metric not in listed:
            listed.add(metric)
            known.append(MetricInfo(metric, title=metric, split=metric.partition("@")[2]))
    return tuple(known)


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(
        id=str(row["id"]),
        split=str(row.get("split") or ""),
        entity=str(row.get("entity") or ""),
        prompt=str(row.get("prompt") or ""),
        target=str(row.get("target") or ""),
        answers={str(k): str(v) for k, v in (row.get("answers") or {}).items() if v is not None},
        scores={
            str(m): {str(tag): finite(v) for tag, v in by_tag.items()}
            for m, by_tag in (row.get("scores") or {}).items()
        },
        labels={
            str(m): {str(tag): str(word) for tag, word in by_tag.items()}
            for m, by_tag in (row.get("labels") or {}).items()
        },
    )


def _attack(row: Mapping[str, Any]) -> AttackCurve:
    points = tuple(
        AttackPoint(
            target=str(p["target"]),
            at=finite(p.get("at")) or 0.0,
            label=str(p.get("label") or ""),
            metric=str(p["metric"]),
            value=finite(p.get("value")),
            ci=_interval(p.get("ci")),
            n=int(p.get("n") or 0),
        )
        for p in row.get("points", ())
    )
    return AttackCurve(str(row["attack"]), str(row.get("axis") or "strength"), points, str(row.get("note") or ""))
