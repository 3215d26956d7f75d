"""The meta-evaluation of metrics: its formulas by hand, its rows on made-up scores, and one small real run."""

import math

import pytest

from unsay.metrics.score import metric_id
from unsay.report import selftest as page
from unsay.selftest import metrics as own

KEPT = "probability@retain"


def test_formulas_of_relearning():
    """u: .1 → .5, r: .1 → .3: half of what came back would have been learned anyway."""
    assert own.FORMULAS["R"](0.1, 0.5, 0.1, 0.3) == pytest.approx(0.5)
    assert own.FORMULAS["R symmetric"](0.1, 0.5, 0.1, 0.3) == pytest.approx(1 - 0.2 / 0.6)
    assert own.FORMULAS["R"](0.5, 0.4, 0.1, 0.3) == 1.0  # nothing came back
    assert own.FORMULAS["R"](0.1, 0.5, 0.3, 0.1) == 0.0
    assert own.FORMULAS["R"](0.1, 0.2, 0.1, 0.9) == 1.0
    assert math.isnan(own.FORMULAS["R symmetric"](0.1, 0.1, 0.2, 0.2))


def test_formulas_of_quantising():
    """.2 before and .8 after: a quarter by the formula that punishes recovery, 1 by the prose; and the reverse."""
    assert own.FORMULAS["Q"](0.2, 0.8) == pytest.approx(0.25)
    assert own.FORMULAS["Q as in the prose"](0.2, 0.8) == 1.0
    assert own.FORMULAS["Q"](0.8, 0.2) == 1.0
    assert own.FORMULAS["Q as in the prose"](0.8, 0.2) == pytest.approx(0.25)
    assert own.FORMULAS["Q symmetric"](0.2, 0.8) == own.FORMULAS["Q symmetric"](0.8, 0.2) == pytest.approx(0.4)
    assert own.FORMULAS["Q"](0.0, 0.0) == 1.0
    assert math.isnan(own.FORMULAS["Q symmetric"](0.0, 0.0))


def test_threshold_and_harmonic_mean():
    assert own.threshold([0.8, 0.9], [0.1, 0.2]) == pytest.approx(0.5)
    assert own.threshold([0.5, 0.9], [0.1, 0.7, 0.2, 0.3]) == pytest.approx(0.4)  # one mistake, not two
    assert own.harmonic(0.5, 1.0) == pytest.approx(2 / 3)
    assert own.harmonic(0.0, 0.0) == 0.0
    assert own.harmonic(None, 1.0) is None


def test_a_row_counts_what_was_unlearned_and_kept_its_utility():
    knows = {f"k{i}": {"m": 0.8 + i / 100} for i in range(6)}
    ignorant = {f"n{i}": {"m": 0.1 + i / 100} for i in range(6)}
    plain = {"before": {"m": 0.9, KEPT: 0.9}, "retrained": {"m": 0.1, KEPT: 0.9}}
    plain |= {
        name: {"m": m, KEPT: kept} for name, m, kept in (("good", 0.2, 0.8), ("knows", 0.7, 0.9), ("broken", 0.0, 0.5))
    }
    attacked = {name: {"relearn": {"m": 0.6}, "quantise": {"m": 0.4}} for name in ("good", "knows", "broken")}
    attacked["retrained"] = {"relearn": {"m": 0.2}, "quantise": {"m": 0.1}}
    row = own._row("m", knows, ignorant, plain, attacked)
    assert row["faithfulness"]["value"] == 1.0
    assert row["faithfulness"]["ci"] == pytest.approx((0.025 ** (1 / 6), 1.0))
    assert row["unlearned"] == 1
    assert row["R"]["value"] == pytest.approx(0.25)
    assert row["Q"]["value"] == pytest.approx(0.5)
    assert row["robustness"] == pytest.approx(1 / 3)
    assert row["overall"] == pytest.approx(0.5)
    nothing = own._row("m", knows, ignorant, {k: plain[k] for k in ("before", "retrained", "knows")}, attacked)
    assert nothing["overall"] is None and nothing["R"]["n"] == 0
    text = page.metrics({"metrics": [row, nothing], "knowing": 6, "ignorant": 6, "unlearned": 3})
    assert "| m | 1.000 [0.54, 1.00] | 0.250 |" in text


@pytest.mark.slow
def test_on_models_the_likelihood_metrics_are_faithful(monkeypatch):
    monkeypatch.setattr(own, "_RATES", (6e-3,))
    monkeypatch.setattr(own, "_LENGTHS", (12, 18))
    found = own.judge_metrics(1)
    assert (found["knowing"], found["ignorant"], found["unlearned"]) == (4, 4, 6)
    rows = {row["metric"]: row for row in found["metrics"]}
    assert set(rows) == {metric_id(metric) for metric in own.METRICS}
    for name in ("extraction-strength@forget", "probability@forget", "truth-ratio@forget"):
        assert rows[name]["faithfulness"]["value"] > 0.8
    assert any(row["unlearned"] for row in rows.values())
