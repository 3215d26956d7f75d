"""``unsay evaluate NAME --endpoint URL``: a model behind an OpenAI-compatible interface, on a benchmark."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import registry
from .benchmarks import _suite
from .benchmarks._benchmark import Benchmark
from .config import overrides
from .config.decode import decode, take
from .data.example import Example, rows_fingerprint
from .errors import PlanError
from .metrics.distinct_n import DistinctN
from .metrics.gibberish import Gibberish
from .metrics.kfr import KFR
from .metrics.krr import KRR
from .metrics.refusal_rate import RefusalRate
from .metrics.score import Metric, Score, metric_id
from .models.chat_server import ChatServer
from .pipeline import with_rows
from .report.report import write_report
from .runs.manifest import DataRecord, ModelRecord
from .runs.reporter import Reporter
from .runs.run import Run
from .runs.store import Store
from .scoring import metric_row, score_row

_TAG = "subject"
_KEY = "OPENAI_API_KEY"
_HEADLINE = (
    *("rouge@forget", "kfr@forget", "refusal-rate@forget", "rouge@retain", "krr@retain", "refusal-rate@retain"),
    *("fluency@retain", "repetition@retain", "gibberish@retain"),
)


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """How the server is asked: ``endpoint.parallel=8``."""

    api_key_env: str | None = None
    """Name of the environment variable that holds the key; "" sends none. None is OPENAI_API_KEY for other machines
    and none for this one."""
    parallel: int = 4
    """Requests at once."""
    timeout: float = 60.0
    """Seconds to wait for a reply."""
    retries: int = 5
    """Further tries after a failed connection or a busy server, each after a longer pause."""
    backoff: float = 1.0
    """Seconds that the pauses grow from."""
    again: bool = False
    """Ask also what the store has an answer of this endpoint and model to."""

    def server(self, url: str, model: str) -> ChatServer:
        """The server of these settings.

        Raises:
            PlanError: an address or a setting that makes no sense.
        """
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "again"}
        given["api_key_env"] = self.api_key_env or ""
        made = ChatServer(base_url=url, model=model, option="--endpoint", prefix="endpoint.", **given)
        if self.api_key_env is None and not made.is_local:
            made = dataclasses.replace(made, api_key_env=_KEY)
        return made


def evaluate_endpoint(model: str, url: str, changes: Iterable[str] = (), *, reporter: Reporter | None = None) -> Path:
    """Measure what a server's model writes on a benchmark: ROUGE, KFR and KRR, fluency, refusals and the like.

    Everything that needs token probabilities is unscored, with the reason. Answers are asked for at temperature 0 and
    kept in the store.

    Args:
        model: The server's name for the model.
        url: Where its interface is, up to and including ``/v1``.
        changes: ``key=value`` words: ``benchmark=`` (or ``forget=``), ``benchmark.path=``, ``endpoint.parallel=``, …
        reporter: Where progress goes.

    Returns:
        The run folder, ``runs/evaluate-<model>-<benchmark>``, with scores.json and report.html.

    Raises:
        PlanError: there is nothing to measure on, or a setting makes no sense.
        DataError: the rows cannot be used.
        ModelError: the server cannot be reached, refuses, or answers with something else.
    """
    settings, words = take(EndpointSettings, overrides.parse(changes), "endpoint.")
    server = settings.server(url, model)
    server.check_allowed("unset UNSAY_OFFLINE, or give a server on localhost")
    server.key()
    document = overrides.apply({"model": {"path": f"{model}@{url}"}}, words)
    if "benchmark" not in document and "data" not in document:
        raise PlanError("nothing to measure on", "give --benchmark NAME, or forget=FILE.jsonl")
    plan = decode(document)
    name = registry.name_of(type(plan.benchmark)).rpartition("/")[2].replace(":", "-")
    called = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.") or "model"
    out = words.get("out") or str(Path("runs") / f"evaluate-{called}-{name}")
    plan = dataclasses.replace(plan, name=name, out=str(out), attacks=())
    nothing = PlanError("nothing to measure on: there are no forget rows", "forget=FILE.jsonl, or --benchmark people")
    benchmark, _, notes = with_rows(plan, nothing)
    splits = benchmark.splits()
    metrics = _metrics(benchmark, splits)
    from .measure.endpoint import EndpointEvaluator

    with Run.start(plan, reporter=reporter, overwrite=True) as run:
        for note in notes:
            run.note(note)
        if not server.is_local:
            run.note(f"the questions of {name} were sent to {server.host}")
        run.record(
            data={k: DataRecord(len(v), rows_fingerprint(v), name) for k, v in splits.items()},
            models={_TAG: ModelRecord(f"{model} at {url}", "an endpoint has no fingerprint")},
        )
        judge = EndpointEvaluator(splits, metrics, server, store=Store(), run=run, again=settings.again)
        with run.stage(f"ask {_TAG}"):
            judge.measure(_TAG)
        run.note("asked at temperature 0; answers are known by endpoint, model name and question (endpoint.again=true)")
        _write(run, name, benchmark, metrics, judge.scores(), judge.samples())
    write_report(run.dir)
    return run.dir


def _metrics(benchmark: Benchmark, splits: Mapping[str, Sequence[Example]]) -> tuple[Metric, ...]:
    """The benchmark's, and whatever else can be read off answers alone."""
    found = {metric_id(metric): metric for metric in benchmark.metrics()}
    words = int(getattr(benchmark, "max_new_tokens", 128))
    for split in ("forget", "retain"):
        if not any(row.prompt for row in splits.get(split, ())):
            continue
        more: tuple[Metric, ...] = (
            KFR(split=split, max_new_tokens=words) if split == "forget" else KRR(split=split, max_new_tokens=words),
            RefusalRate(split=split, max_new_tokens=words),
            DistinctN(split=split, max_new_tokens=words),
            Gibberish(split=split, max_new_tokens=words),
        )
        for metric in more:
            found.setdefault(metric_id(metric), metric)
    return tuple(found.values())


def _write(
    run: Run,
    name: str,
    benchmark: Benchmark,
    metrics: Sequence[Metric],
    scores: Mapping[str, Mapping[str, Score]],
    samples: Sequence[Mapping[str, Any]],
) -> None:
    wanted = {**_suite.directions(metrics, forget="down"), **benchmark.wanted()}
    scored = [name for name, score in scores[_TAG].items() if score.scored]
    about = {
        "name": name,
        "cite": benchmark.cite,
        "headline": [i for i in _HEADLINE if i in scored] or scored,
        "metrics": [metric_row(metric, wanted.get(metric_id(metric))) for metric in metrics],
    }
    run.write_json("benchmark.json", about)
    run.write_json("scores.json", [score_row(tag, i, s) for tag, by in scores.items() for i, s in by.items()])
    run.write_jsonl("samples.jsonl", samples)
