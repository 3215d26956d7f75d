"""Every benchmark in the folder keeps the protocol, and its metrics can be scored on its own splits."""

import dataclasses

import numpy as np
import pytest

from unsay import registry
from unsay.benchmarks._benchmark import Benchmark
from unsay.data.checks import check_data
from unsay.data.example import Example, ForgetData, rows_fingerprint
from unsay.metrics.have import AnswerStats, EntityTable, Measurements, Verdict
from unsay.metrics.needs import EntitySimilarity, Generations, Inference, JudgeStats, TextSimilarity, TokenStats
from unsay.metrics.score import Metric, metric_id

SETTINGS = [
    ("people", {}),
    ("people", {"teach": ("k1",)}),
    ("people-small", {}),
    ("people-small", {"teach": ("k1", "k2", "k3")}),
    ("tofu", {"split": "forget01", "retain_limit": 40}),
    ("tofu", {"split": "forget01", "taught_rows": "forget10", "holdout_authors": 2}),
    ("custom", {}),
    ("knowundo", {}),
    ("muse", {"corpus": "news", "chain": "sust", "step": 2}),
    ("muse", {"corpus": "books"}),
    ("wmdp", {"domain": "cyber", "sample": 8}),
    ("rwku", {}),
    ("closer-look", {}),
]
OTHER_ROWS = {"knowundo", "muse", "rwku", "closer-look"}
"""They measure other questions about what is forgotten than those that were trained on."""
GIVEN = {"wmdp", *OTHER_ROWS}
"""Read from a folder that the tests write."""


@pytest.fixture(params=SETTINGS, ids=lambda p: f"{p[0]} {p[1]}")
def benchmark(request, data_dir, made):
    name, settings = request.param
    more = {"path": str(data_dir / "tofu")} if name == "tofu" else {}
    if name in GIVEN:
        more = {"path": str(made(f"{name} {settings['corpus']}" if name == "muse" else name))}
    found = registry.load("benchmarks", name)(**settings, **more)
    if name == "custom":
        rows = [Example(f"Question {i}?", f"Answer {i}.") for i in range(30)]
        found = found.with_data(ForgetData(forget=rows[:10], retain=rows[10:20], holdout=rows[20:]))
    return found


def test_every_benchmark_is_tested_here():
    assert {name for name, _ in SETTINGS} == set(registry.names("benchmarks"))


def test_protocol(benchmark):
    assert isinstance(benchmark, Benchmark)
    assert dataclasses.is_dataclass(benchmark) and type(benchmark).__dataclass_params__.frozen
    assert all(f.kw_only for f in dataclasses.fields(benchmark))
    assert benchmark.cite and registry.summary("benchmarks", registry.name_of(type(benchmark)))


def test_splits_have_rows_with_distinct_ids(benchmark):
    splits = benchmark.splits()
    assert {"forget", "retain"} <= splits.keys()
    for name, rows in splits.items():
        assert rows and len({row.id for row in rows}) == len(rows), name
    measured = [row.id for name in ("forget", "retain", "holdout") for row in splits.get(name, ())]
    assert len(set(measured)) == len(measured), "no row is in two of forget, retain, holdout"


def test_what_is_forgotten_is_what_is_measured(benchmark):
    data, splits = benchmark.data(), benchmark.splits()
    kept, gone = {r.id for r in data.retain}, {r.id for r in data.forget}
    name = registry.name_of(type(benchmark))
    if name in OTHER_ROWS:
        assert not kept & {r.id for r in splits["forget"]} and not gone & {r.id for r in splits["retain"]}
    else:
        measured = [r.id for r in splits["forget"]]
        assert set(measured) <= gone if name == "wmdp" else measured == [r.id for r in data.forget]
        assert {r.id for r in splits["retain"]} <= kept
    assert kept and gone and not gone & kept
    check_data(data)
    if benchmark.taught():
        taught = {r.id for r in benchmark.taught()}
        assert {r.id for r in data.forget} | kept <= taught
        assert {r.id for r in splits["forget"]} <= taught, "what is measured as forgotten was known"
        assert not taught & {r.id for r in splits.get("holdout", ())}


def test_same_rows_every_time(benchmark):
    one, two = benchmark.splits(), benchmark.splits()
    assert list(one) == list(two)
    assert [rows_fingerprint(r) for r in one.values()] == [rows_fingerprint(r) for r in two.values()]


def test_ids_directions_and_headline(benchmark):
    metrics = benchmark.metrics()
    names = [metric_id(m) for m in metrics]
    assert all(isinstance(m, Metric) for m in metrics) and len(set(names)) == len(names)
    wanted = benchmark.wanted()
    assert set(wanted) == set(names) and set(wanted.values()) <= {"up", "down", "match"}
    headline = benchmark.headline()
    assert set(headline) <= set(names) and len(set(headline)) == len(headline)
    assert "probability@forget" in headline and "model-utility" in headline
    assert any(name.startswith("fluency@") for name in headline)


def test_two_sided(benchmark):
    """Whatever falls when too much is forgotten must be wanted up, on rows that are kept and on general knowledge."""
    wanted = benchmark.wanted()
    assert wanted["model-utility"] == "up" and wanted["probability@retain"] == "up"
    fluent = {name: way for name, way in wanted.items() if name.startswith("fluency@")}
    assert fluent and set(fluent.values()) == {"up"}
    assert {wanted[name.replace("fluency", "repetition")] for name in fluent} == {"down"}
    # MUSE's forget texts have no prompt to answer, WMDP's neither
    assert any(name.startswith("fluency@forget") for name in fluent) or "rouge@forget" not in wanted
    assert any(name.partition("@")[2] in ("world", "world-facts") for name in wanted)


def test_every_metric_has_a_number(benchmark):
    have = measured(benchmark)
    for metric in benchmark.metrics():
        score = metric.score(have)
        assert score.scored, (metric_id(metric), score.note)
        assert score.n > 0


def test_generations_of_one_split_are_asked_for_once(benchmark):
    """Two lengths would generate twice."""
    asked = {n for m in benchmark.metrics() for n in m.needs if not isinstance(n, TokenStats)}
    needs = {n if isinstance(n, Generations) else n.generations for n in asked}
    assert len({(n.split, n.model) for n in needs}) == len(needs)


def measured(benchmark):
    """Made-up answers to every need."""
    splits, rng = benchmark.splits(), np.random.default_rng(0)

    def stats(text):
        n = len(text.split()) + 1
        logp = np.log(rng.uniform(0.05, 0.95, n)).astype(np.float32)
        return AnswerStats(logp, rng.integers(0, 3, n).astype(np.int32), logp - 1, np.ones_like(logp), text)

    answers = {}
    for need in {n for m in benchmark.metrics() for n in m.needs}:
        rows = splits.get(need.split, ())  # a metric may do without one of its needs
        if isinstance(need, TokenStats):
            answers[need] = {r.id: tuple(map(stats, r.answers(need.answer))) for r in rows}
        elif isinstance(need, Inference):
            answers[need] = {r.id: (Verdict(0.6, 0.3, 0.1),) for r in rows}
        elif isinstance(need, TextSimilarity):
            answers[need] = {r.id: (float(rng.uniform(0.1, 0.9)),) for r in rows}
        elif isinstance(need, EntitySimilarity):
            answers[need] = {r.id: (EntityTable(("Oslo",), ("Oslo",), np.ones((1, 1), np.float32)),) for r in rows}
        elif isinstance(need, JudgeStats):
            answers[need] = {r.id: (stats(r.answer),) for r in rows}
        else:
            answers[need] = {r.id: (r.answer,) for r in rows}
    return Measurements(splits, answers)
