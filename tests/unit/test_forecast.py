"""What is expected of rows, by hand, and what the report makes of it afterwards."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from unsay import pipeline
from unsay.config.plan import DataSpec
from unsay.errors import DataError
from unsay.forecast import COST, SEEN, STEPS, forecast, note, write_forecast
from unsay.metrics.score import Score
from unsay.report.folder import Number, RunFolder, Sample
from unsay.report.forecast import forecast_lines
from unsay.runs.run import Run

RETAIN = {f"r{i}": x for i, x in enumerate([1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0])}
SPREAD = math.sqrt(6 / 8)


def test_by_hand():
    found = forecast({"usual": 2.0, "easy": 0.5, "odd": 2.0 + 3 * SPREAD, "broken": math.inf}, RETAIN)
    assert set(found) == {"usual", "easy", "odd"}
    assert found["odd"].score == pytest.approx(3)
    assert (found["odd"].steps, found["odd"].cost) == pytest.approx((4**STEPS, 4**COST))
    for like in ("usual", "easy"):
        assert (found[like].steps, found[like].cost) == (1, 1)
    assert forecast({"x": 1e6}, RETAIN)["x"].steps == pytest.approx((1 + SEEN) ** STEPS)
    said = note(found)
    assert said.startswith("1 of 3 forget rows") and "most: odd" in said and f"{4**STEPS:.1f} times the steps" in said
    assert note(forecast({"usual": 2.0}, RETAIN)) == ""
    assert "the model before, which may know these rows" in said and "generic" not in said
    assert "retain rows are the bundled generic ones" in note(found, generic=True)


@pytest.mark.parametrize(
    ("forget", "retain"), [({}, RETAIN), ({"a": 1.0}, {"r": 1.0}), ({"a": 1.0}, dict.fromkeys("bcdefghij", 2.0))]
)
def test_too_little_to_say(forget, retain):
    with pytest.raises(DataError, match="say nothing"):
        forecast(forget, retain)


def test_written_and_noted():
    run = Run.temporary()
    scores = {"probability@retain": {i: math.exp(-x) for i, x in RETAIN.items()}, "probability@forget": {"a": 0.0001}}
    write_forecast(run, {name: Score(0.5, values, len(values)) for name, values in scores.items()})
    found = json.loads(run.path("forecast.json").read_text())
    assert found["rows"]["a"]["score"] == pytest.approx((-math.log(0.0001) - 2) / SPREAD)
    assert any("most: a" in text for text in run.manifest.notes)
    write_forecast(run, {})
    found = json.loads(run.path("forecast.json").read_text())
    assert found["rows"] == {} and "0 retain rows" in found["note"]


@pytest.mark.parametrize("retain", [None, "mine.jsonl"])
def test_a_run_tells_whether_retain_rows_stood_in(monkeypatch, retain):
    run = Run.temporary()
    run.plan = dataclasses.replace(run.plan, data=DataSpec(forget="forget.jsonl", retain=retain))
    losses = {"probability@retain": RETAIN, "probability@forget": {"a": 9.0}}
    scores = {name: Score(0.5, {i: math.exp(-x) for i, x in of.items()}, 1) for name, of in losses.items()}
    judge = SimpleNamespace(measure=lambda *args, **more: None, scores=lambda: {"before": scores})
    monkeypatch.setattr(pipeline, "_judge", lambda *args: judge)
    work = SimpleNamespace(benchmark=SimpleNamespace(splits=lambda: {"forget": [], "retain": []}))
    pipeline._forecast(run, work, SimpleNamespace(fingerprint="", load=None))
    (said,) = run.manifest.notes
    assert ("bundled generic" in said) is (retain is None)


def folder(tmp_path, after, retrained=5.0, rows=12):
    """Rows with losses 2.0, 2.1, 2.2, … before and scores that follow them; `after` and `retrained` by number."""
    found = {f"f{i:02}": {"score": float(i), "steps": 1.0, "cost": 2.0} for i in range(rows)}
    (tmp_path / "forecast.json").write_text(json.dumps({"rows": found}))
    losses = {"before": lambda i: 2 + 0.1 * i, "after": after}
    if retrained is not None:
        losses["retrained"] = retrained if callable(retrained) else lambda i: retrained
    samples = tuple(
        Sample(
            name, "forget", "", "q", "a", {}, {"probability@forget": {t: math.exp(-x(i)) for t, x in losses.items()}}
        )
        for i, name in enumerate(found)
    )
    scores = {("before", "probability@retain"): Number(0.8), ("after", "probability@retain"): Number(0.6)}
    return RunFolder(tmp_path, {}, scores=scores, samples=samples)


def test_a_forecast_is_checked(tmp_path):
    lines = forecast_lines(folder(tmp_path, lambda i: 4 - 0.1 * i))
    assert "it held" in lines[0] and "1.000 (n = 12" in lines[0]
    assert "2.0 times" in lines[1] and "25" in lines[1]
    assert "other way round" in forecast_lines(folder(tmp_path, lambda i: 3 + 0.1 * i))[0]
    assert "undecided" in forecast_lines(folder(tmp_path, lambda i: 4 + 0.1 * (i % 2)))[0]


@pytest.mark.parametrize("level", [6.0, 4.0])
def test_where_rows_end_says_nothing_of_where_they_began(tmp_path, level):
    """Losses before vary from 2 to 6; the others are drawn apart from them: nothing could be foretold."""
    held = {"it held": 0, "undecided": 0, "other way round": 0}
    for seed in range(40):
        after, retrained = np.random.default_rng(seed).normal([[level - 1], [level]], 1.0, (2, 40))
        said = forecast_lines(folder(tmp_path, after.__getitem__, retrained.__getitem__, rows=40))[0]
        held[next(word for word in held if word in said)] += 1
    assert held["undecided"] >= 34


def test_without_a_retrained_model_a_forecast_cannot_be_checked(tmp_path):
    (said, cost) = forecast_lines(folder(tmp_path, lambda i: 5.0, retrained=None))
    assert "cannot be checked: without a retrained model" in said and "held" not in said
    assert "2.0 times" in cost


def test_what_cannot_be_checked_is_said(tmp_path):
    assert "cannot be checked: 3 rows" in forecast_lines(folder(tmp_path, lambda i: 0.1, rows=3))[0]
    assert "do not differ" in forecast_lines(folder(tmp_path, lambda i: 3.0))[0]
    (tmp_path / "forecast.json").write_text(json.dumps({"rows": {}, "note": "why not"}))
    assert forecast_lines(SimpleNamespace(dir=tmp_path)) == ["No forecast of costly rows: why not."]
    (tmp_path / "forecast.json").write_text("{")
    assert "cannot be read" in forecast_lines(SimpleNamespace(dir=tmp_path))[0]
    (tmp_path / "forecast.json").unlink()
    assert forecast_lines(SimpleNamespace(dir=tmp_path)) == []
