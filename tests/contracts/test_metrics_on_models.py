"""Every metric of the folder on tiny models: order, batching and storage of rows change nothing beyond rounding."""

from __future__ import annotations

import dataclasses
import random

import pytest

from unsay import registry
from unsay.data.example import Example
from unsay.measure.evaluator import Evaluator
from unsay.metrics.score import metric_id
from unsay.models._tiny import tiny_lm
from unsay.models.weights import extrapolate
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm

DATA = facts()
TOKENS = (
    *("probability", "fact-probability", "paraphrase-probability", "truth-ratio", "logit-lens"),
    *("loss-attack", "min-k", "zlib-ratio"),
)


def _richer(row: Example) -> Example:
    """`row` with the alternatives that metrics ask for, of different lengths."""
    kinds = {
        "paraphrased": (f"It is {row.answer}",),
        "perturbed": tuple(row.answer[::-1] + end for end in ("", "o", "ol ol")),
        "paraphrased_question": (f"Say: {row.question}",),
    }
    return dataclasses.replace(row, alternatives=kinds)


SPLITS = {
    "forget": [_richer(row) for row in DATA.forget],
    "retain": [_richer(row) for row in DATA.retain],
    "holdout": [_richer(row) for row in DATA.holdout],
    "real-authors": [_richer(row) for row in DATA.retain[:3]],
    "world-facts": [_richer(row) for row in DATA.retain[3:6]],
}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """One of each, judged by rules and by a tiny reading model."""
    reader = tmp_path_factory.mktemp("reader") / "model"
    tiny_lm(seed=9).save(reader)
    found = []
    for name in registry.names("metrics"):
        cls = registry.load("metrics", name)
        has = {f.name for f in dataclasses.fields(cls)}
        wanted = {"max_new_tokens": 6, "encoder": "lexical", "judge": "lexical"}
        wanted |= {"judge": str(reader)} if name == "linguistic-score" else {}
        found.append(cls(**{k: v for k, v in wanted.items() if k in has}))
    return found


@pytest.fixture(scope="module")
def models():
    before = knowing_lm()
    return {"before": before, "after": extrapolate(before, tiny_lm(seed=5), 0.3), "retrained": tiny_lm(seed=6)}


def measured(root, metrics, models, splits=SPLITS, **settings):
    judge = Evaluator(splits, metrics, store=Store(root), **{"precision": "fp32", **settings})
    for tag, lm in models.items():
        judge.measure(tag, lm)
    return judge.scores()


@pytest.fixture(scope="module")
def usual(tmp_path_factory, metrics, models):
    return measured(tmp_path_factory.mktemp("usual"), metrics, models)


def test_every_metric_has_a_number_or_a_reason(usual, metrics):
    assert usual["after"].keys() == {metric_id(m) for m in metrics}
    unscored = {name: s.note for name, s in usual["after"].items() if not s.scored}
    assert all(unscored.values())
    assert not unscored.keys() - {"model-utility", "closer-look-utility", "token-rate@forget"}, unscored


def same(one, other, tolerance=1e-4):
    for tag, scores in one.items():
        for name, score in scores.items():
            twin = other[tag][name]
            assert score.value == pytest.approx(twin.value, rel=tolerance, abs=tolerance, nan_ok=True), (tag, name)
            assert (score.n, score.clusters, score.note) == (twin.n, twin.clusters, twin.note), (tag, name)
            assert score.labels == twin.labels
            assert score.per_example.keys() == twin.per_example.keys()
            for row, value in score.per_example.items():
                assert value == pytest.approx(twin.per_example[row], rel=tolerance, abs=tolerance), (tag, name, row)


def test_the_order_of_rows_changes_nothing(tmp_path, metrics, models, usual):
    mixed = {}
    for number, (name, rows) in enumerate(SPLITS.items()):
        mixed[name] = list(rows)
        random.Random(number).shuffle(mixed[name])
    same(usual, measured(tmp_path, metrics, models, mixed))


def test_batches_and_padding_change_nothing(tmp_path, metrics, models, usual, monkeypatch):
    from unsay.measure import generations

    monkeypatch.setitem(generations.Greedy.__init__.__kwdefaults__, "rows", 2)
    same(usual, measured(tmp_path, metrics, models, micro_tokens=48))


def test_what_is_read_back_from_the_store_is_the_same(tmp_path, metrics, models, usual):
    same(measured(tmp_path, metrics, models), measured(tmp_path, metrics, models), 0)
    same(usual, measured(tmp_path, metrics, models))


def test_bf16_moves_token_metrics_little(tmp_path, metrics, models, usual):
    scored = [m for m in metrics if metric_id(m).partition("@")[0] in TOKENS]
    rough = measured(tmp_path, scored, models, precision="bf16")
    for tag, scores in rough.items():
        for name, score in scores.items():
            assert score.value == pytest.approx(usual[tag][name].value, abs=0.05), (tag, name)
