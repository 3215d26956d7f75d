"""The presets of published benchmarks from files to report, on a tiny model and a few rows of each file."""

import importlib.util
import json
from pathlib import Path

import pytest

from unsay.benchmarks import closer_look, knowundo, muse
from unsay.config.decode import read_plan
from unsay.metrics.score import metric_id

_FILE = Path(__file__).parents[1] / "unit" / "benchmarks" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("published_layouts", _FILE)
layouts = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(layouts)

ROWS = 4
PRESETS = {
    "knowundo": ["model.adapter=null", "teach.train.max_steps=1", "benchmark.max_new_tokens=6"],
    "muse-news": ["retrained={model}"],
    "muse-books": ["retrained={model}"],
    "wmdp-bio": ["method.layer='0'", "benchmark.max_new_tokens=6"],
    "rwku": ["benchmark.retain_people=1", "benchmark.instructions=2"],
    "closer-look": ["benchmark.max_new_tokens=6"],
}
FAST = ["train.max_steps=1", "train.batch=2", "train.lr=1e-3", "train.precision=fp32", "-q"]
NAMES = {"muse-news": "muse news", "muse-books": "muse books"}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """small("muse-news") → a folder of that layout with four rows a file, which the benchmark takes for the whole."""
    monkeypatch.setattr(muse, "_VERBATIM_TOKENS", 6)
    monkeypatch.setattr(muse, "_ANSWER_TOKENS", 6)
    for module in (knowundo, closer_look):
        monkeypatch.setattr(module, "COUNTS", dict.fromkeys(module.COUNTS, ROWS))
    counts = {corpus: dict.fromkeys(stems, ROWS) for corpus, stems in muse.COUNTS.items()}
    monkeypatch.setattr(muse, "COUNTS", counts)

    def folder(preset):
        if preset == "wmdp-bio":
            return layouts.write(tmp_path / preset, layouts.wmdp("bio", ROWS), "jsonl")
        build, form = layouts.LAYOUTS[NAMES.get(preset, preset)]
        limit = 100 if preset == "rwku" else ROWS
        return layouts.write(tmp_path / preset, {stem: rows[:limit] for stem, rows in build().items()}, form)

    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_from_files_to_report(unsay, tiny_model, small, preset):
    given = [word.format(model=tiny_model) for word in PRESETS[preset]]
    words = [f"model.path={tiny_model}", f"benchmark.path={small(preset)}", *given, *FAST]
    if preset == "knowundo":
        words.append("benchmark.reader=null")
    done = unsay("run", preset, *words, "out=runs/x")
    assert done.code == 0, done.err
    plan, _ = read_plan("runs/x/plan.yaml", [])
    scores = {(s["model"], s["metric"]): s for s in json.loads(Path("runs/x/scores.json").read_text())}
    expected = {"before", "after"} | ({"retrained"} if plan.retrained or plan.teach else set())
    assert {model for model, _ in scores} >= expected
    promised = set(map(metric_id, plan.benchmark.metrics()))
    assert {metric for model, metric in scores if model == "after"} == promised
    assert set(plan.benchmark.headline()) <= promised == set(plan.benchmark.wanted())
    for (model, metric), score in scores.items():
        if model == "after":
            assert score["note"] if score["value"] is None else score["n"] > 0, metric
    for report in ("report.html", "report.md"):
        text = Path("runs/x", report).read_text()
        assert plan.benchmark.cite in text and "nan" not in text.lower().split(), report
