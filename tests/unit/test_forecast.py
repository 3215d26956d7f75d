"""What is expected of rows, by hand, and what the report makes of it afterwards."""

import json
import math
from types import SimpleNamespace

import pytest

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


def folder(tmp_path, after, retrained=True, rows=12):
    """Rows with scores 0, 1, 2, …, all of probability 0.5 before and 0.05 retrained."""
    found = {f"f{i:02}": {"score": float(i), "steps": 1.0, "cost": 2.0} for i in range(rows)}
    (tmp_path / "forecast.json").write_text(json.dumps({"rows": found}))
    tags = {"before": lambda i: 0.5, "after": after, **({"retrained": lambda i: 0.05} if retrained else {})}
    samples = tuple(
        Sample(name, "forget", "", "q", "a", {}, {"probability@forget": {tag: p(i) for tag, p in tags.items()}})
        for i, name in enumerate(found)
    )
    scores = {("before", "probability@retain"): Number(0.8), ("after", "probability@retain"): Number(0.6)}
    return RunFolder(tmp_path, {}, scores=scores, samples=samples)


@pytest.mark.parametrize("retrained", [True, False])
def test_a_forecast_is_checked(tmp_path, retrained):
    lines = forecast_lines(folder(tmp_path, lambda i: 0.06 + 0.03 * i, retrained))
    assert "it held" in lines[0] and "1.000 (n = 12" in lines[0] and ("no retrained" in lines[0]) is not retrained
    assert "2.0 times" in lines[1] and "25" in lines[1]
    assert "other way round" in forecast_lines(folder(tmp_path, lambda i: 0.45 - 0.03 * i, retrained))[0]
    assert "undecided" in forecast_lines(folder(tmp_path, lambda i: 0.1 + 0.05 * (i % 2), retrained))[0]


def test_what_cannot_be_checked_is_said(tmp_path):
    assert "cannot be checked: 3 rows" in forecast_lines(folder(tmp_path, lambda i: 0.1, rows=3))[0]
    assert "do not differ" in forecast_lines(folder(tmp_path, lambda i: 0.1))[0]
    (tmp_path / "forecast.json").write_text(json.dumps({"rows": {}, "note": "why not"}))
    assert forecast_lines(SimpleNamespace(dir=tmp_path)) == ["No forecast of costly rows: why not."]
    (tmp_path / "forecast.json").write_text("{")
    assert "cannot be read" in forecast_lines(SimpleNamespace(dir=tmp_path))[0]
    (tmp_path / "forecast.json").unlink()
    assert forecast_lines(SimpleNamespace(dir=tmp_path)) == []
