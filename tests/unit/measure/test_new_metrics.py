"""Metrics of several models and needs through the evaluator, on tiny models: what comes back is what was asked for."""

from __future__ import annotations

import json

import pytest

from unsay.data.example import Example
from unsay.measure.evaluator import Evaluator
from unsay.measure.grad_norms import GradNormSweep
from unsay.measure.texts import Ask
from unsay.metrics.closer_look_utility import CloserLookUtility
from unsay.metrics.completeness import Completeness
from unsay.metrics.distinct_n import DistinctN
from unsay.metrics.forgetting_effect import ForgettingEffect
from unsay.metrics.forgotten_rows import ForgottenRows
from unsay.metrics.gibberish import Gibberish
from unsay.metrics.gradient_norm import GradientNorm
from unsay.metrics.logit_lens import LogitLens
from unsay.metrics.privleak import Privleak
from unsay.metrics.reference_attack import ReferenceAttack
from unsay.metrics.refusal_rate import RefusalRate
from unsay.models._tiny import tiny_lm
from unsay.runs.store import Store


def rows(split, n):
    wrong = tuple(f"{split} is the number {i}." for i in range(20, 23))
    return tuple(
        Example(f"Which {split} comes at {i}?", f"{split} number {i} comes at {i}.", alternatives={"perturbed": wrong})
        for i in range(n)
    )


SPLITS = {"forget": rows("pear", 4), "retain": rows("plum", 4), "holdout": rows("fig", 4)}
LIMIT = {"max_new_tokens": 4}
METRICS = (
    ReferenceAttack(), GradientNorm(), Privleak(), Completeness(), LogitLens(), ForgottenRows(),
    ForgettingEffect(judge="lexical", encoder="lexical", **LIMIT),
    CloserLookUtility(judge="lexical", encoder="lexical", **LIMIT),
    RefusalRate(**LIMIT), Gibberish(**LIMIT), DistinctN(**LIMIT),
)  # fmt: skip


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    judge = Evaluator(SPLITS, METRICS, store=Store(tmp_path_factory.mktemp("store")), precision="fp32")
    for seed, tag in enumerate(("before", "after", "retrained")):
        judge.measure(tag, tiny_lm(seed=seed))
    return judge


@pytest.mark.parametrize("tag", ["before", "after", "retrained"])
def test_every_one_has_a_number_on_every_model(judge, tag):
    for name, score in judge.scores()[tag].items():
        assert score.scored, (name, score.note)
        assert score.n > 0


def test_models_are_told_apart(judge):
    scores = judge.scores()
    for name in ("gradient-norm@forget", "completeness@forget", "logit-lens@forget", "forgetting-effect@forget"):
        assert scores["after"][name].per_example != scores["before"][name].per_example
    assert scores["retrained"]["privleak@forget"].value == 0.0
    assert scores["retrained"]["reference-attack@forget"].value == 0.5
    assert set(scores["retrained"]["reference-attack@forget"].per_example.values()) == {0.0}
    assert scores["before"]["completeness@forget"].value == pytest.approx(
        scores["before"]["completeness@forget"].extra["original"]
    )
    assert scores["retrained"]["forgotten-rows@forget"].value == 1.0


def test_words_judge_where_no_model_does(judge):
    """All five signs are there, and the note says who judged."""
    found = judge.scores()["after"]["forgetting-effect@forget"]
    assert found.extra["parts"] == 5
    assert "lexical" in found.note or "word" in found.note
    assert judge.scores()["after"]["closer-look-utility"].extra["parts"] == 6


def test_the_retrained_auc_is_the_retrained_models_own(judge):
    scores = judge.scores()
    for name in ("gradient-norm@forget", "privleak@forget", "reference-attack@forget"):
        twin = scores["retrained"][name]
        own = twin.extra["auc"] if name.startswith("privleak") else twin.value
        assert scores["after"][name].extra["retrained_auc"] == pytest.approx(own)


def test_gradient_norms_are_those_of_the_model_at_hand(judge):
    asks = [Ask(row.prompt, row.answer) for row in SPLITS["forget"]]
    norms = {}
    for found, _ in GradNormSweep(tiny_lm(seed=1), asks).run():
        norms |= found
    expected = {row.id: -norms[ask] for row, ask in zip(SPLITS["forget"], asks, strict=True)}
    found = judge.scores()["after"]["gradient-norm@forget"].per_example
    assert {i: found[i] for i in expected} == pytest.approx(expected, rel=1e-5)


def test_labels_reach_the_samples(judge):
    samples = judge.samples()
    json.dumps(samples, allow_nan=False)
    forget = [row for row in samples if row["split"] == "forget"]
    labels = {row["scores"]["forgotten-rows@forget"]["after"] for row in forget}
    assert len(forget) == 4 and labels <= {-1.0, 0.0, 1.0}


def test_without_a_retrained_model_the_reason_is_said(tmp_path):
    judge = Evaluator(SPLITS, (Privleak(), ReferenceAttack(), Completeness()), store=Store(tmp_path), precision="fp32")
    judge.measure("after", tiny_lm())
    for score in judge.scores()["after"].values():
        assert not score.scored and ("retrained" in score.note or "before" in score.note)
