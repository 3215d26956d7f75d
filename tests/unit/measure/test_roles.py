"""The model before it was taught serves the scores of the others; classes of rows are written as words."""

from __future__ import annotations

import pytest

from unsay.measure.evaluator import Evaluator
from unsay.metrics.completeness import Completeness
from unsay.metrics.forgotten_rows import ForgottenRows
from unsay.metrics.loss_attack import LossAttack
from unsay.metrics.reference_attack import ReferenceAttack
from unsay.models._tiny import tiny_lm
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm

DATA = facts()
SPLITS = {"forget": DATA.forget, "holdout": DATA.holdout}


def judge(tmp_path, *metrics):
    return Evaluator(SPLITS, metrics, store=Store(tmp_path / "store"), precision="fp32")


def test_base_is_read_and_not_scored(tmp_path):
    found = judge(tmp_path, ReferenceAttack(), Completeness(), LossAttack())
    assert found.wants("base") and not judge(tmp_path, LossAttack()).wants("base")
    found.measure("base", tiny_lm(), scored=False)
    found.measure("before", knowing_lm())
    found.measure("after", tiny_lm(seed=4))
    scores = found.scores()
    assert scores.keys() == {"before", "after"}
    shown = [row["scores"].get("completeness@forget", {}) for row in found.samples()]
    assert {tag for by_tag in shown for tag in by_tag} == {"before", "after"}
    attack = scores["before"]["reference-attack@forget"]
    assert attack.value > 0.9 and "reference: base" in attack.note
    assert scores["before"]["completeness@forget"].value < scores["after"]["completeness@forget"].value
    assert "out model: base" in scores["after"]["completeness@forget"].note


def test_base_gives_way_to_the_retrained_model_and_costs_two_splits(tmp_path):
    found = judge(tmp_path, ReferenceAttack(), LossAttack())
    found.measure("base", tiny_lm(), scored=False)
    tokens = found.effort("base").tokens
    found.measure("before", tiny_lm(seed=2))
    assert 0 < tokens <= found.effort("before").tokens
    found.measure("retrained", tiny_lm(seed=3))
    assert "reference: retrained" in found.scores()["before"]["reference-attack@forget"].note


def test_without_either_there_is_a_reason(tmp_path):
    found = judge(tmp_path, ReferenceAttack(reference="base"), Completeness(out="base"))
    found.measure("after", tiny_lm())
    for score in found.scores()["after"].values():
        assert not score.scored and score.note
    reason = "needs the model before it was taught, which only a plan that teaches has"
    assert found.scores()["after"]["reference-attack@forget"].note == reason


def test_labels_go_beside_the_values(tmp_path):
    found = judge(tmp_path, ForgottenRows(q=0.4))
    found.measure("before", knowing_lm())
    score = found.scores()["before"]["forgotten-rows@forget"]
    assert set(score.labels.values()) == {"still known"}
    rows = [row for row in found.samples() if row["split"] == "forget"]
    assert [row["labels"] for row in rows] == [{"forgotten-rows@forget": {"before": "still known"}}] * len(rows)
    assert {row["scores"]["forgotten-rows@forget"]["before"] for row in rows} == {1.0}
    assert score.value == pytest.approx(0.0)
