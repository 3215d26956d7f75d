"""The benchmarks of bench/ run: what they reach into has not moved."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unsay.config.decode import read_plan
from unsay.testing import tiny_lm

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("worker", ["ours", "yardstick"])
def test_a_training_is_timed(tmp_path, worker):
    tiny_lm().save(tmp_path / "tiny")
    words = ["--worker", worker, "--method", "npo", "--steps", "1", "--model", str(tmp_path / "tiny")]
    environment = {key: value for key, value in os.environ.items() if key != "UNSAY_DATA"}
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "train.py", *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens_per_second"] > 0 and 0 <= found["padding"] < 1 and found["steps"] == 1


def test_the_page_of_unierase_is_made_of_what_there_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    unierase = importlib.import_module("bench.unierase")
    assert unierase.page(tmp_path, {}).count("##") == 0
    for words in unierase.COMMANDS.values():
        start = 1 if words[0] == "run" else 2
        changes = [word for word in words[start + 1 :] if "=" in word]
        assert read_plan(words[start], changes)[0].benchmark is not None, "a plan that can be read"
    about = {"machine": {"cpu": "a", "cores": 2}, "git": {"commit": "c" * 40, "dirty": False}, "created": "2026-01-01T"}
    for folder, status in (("people-unierase-0", "done"), ("sequential-0", "done"), ("tofu-npo", "interrupted")):
        (tmp_path / folder / "edit").mkdir(parents=True)
        (tmp_path / folder / "manifest.json").write_text(
            json.dumps(about | {"status": status, "stages": [{"name": "unlearn", "seconds": 41.0}]})
        )
    (tmp_path / "sequential-0" / "sequential.md").write_text("# Title\n\nSaid.\n\n## Results\n\n| a |\n")
    row = {"value": 0.25, "ci": [0.1, 0.4], "n": 2, "note": "", "extra": {"rouge": 0.5}}
    names = ("probability@forget", "model-utility", "forgetting-effect@forget", "token-rate@retain")
    scores = [row | {"model": model, "metric": name} for model in ("before", "after") for name in names]
    found = (("after", 0.3), ("retrained", 0.9))
    points = [{"target": target, "metric": "probability@forget", "value": value} for target, value in found]
    (tmp_path / "people-unierase-0" / "scores.json").write_text(json.dumps(scores))
    attacks = [{"attack": "token-suppressed", "points": points}]
    (tmp_path / "people-unierase-0" / "attacks.json").write_text(json.dumps(attacks))
    solves = [{"layer": n, "rank": 500, "energy": 0.019, "energy_held_out": 0.05} for n in (3, 4)]
    edit = {"changed_share": 0.0329, "solves": solves, "first_token": {"with_values": 0.75}}
    (tmp_path / "people-unierase-0" / "edit" / "edit.json").write_text(json.dumps(edit))
    rates = {at: {split: {"rate": rate, "n": 32} for split in ("forget", "retain")} for at, rate in RATES.items()}
    (tmp_path / "people-unierase-0" / "edit" / "token.json").write_text(json.dumps({"first_token": rates}))
    page = unierase.page(tmp_path, {})
    assert "| `unierase-0` | 0.250 [0.10, 0.40] | 0.250 [0.10, 0.40] | 41 s | 3.29 % | 0.300 | – |" in page
    assert "## Sequential" in page and "Said." in page and "## Results" not in page
    line = page.partition("null space: directions")[2].splitlines()[2]
    assert line.startswith("| `unierase-0` | 0.250 (n = 32) | 0.875 (n = 32) | 0.875 (n = 32) | – | 0.750 |")
    assert [float(cell) for cell in line.strip(" |").split("|")[-3:]] == [500, 0.019, 0.05]


RATES = {"after_edit": 0.25, "after_again": 0.875}


def test_runs_of_unierase_that_fail_are_not_hidden(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    unierase = importlib.import_module("bench.unierase")
    asked = []

    def began(words, check):
        out = Path(next(word for word in words if word.startswith("out=")).removeprefix("out="))
        asked.append(out.name)
        if out.name != "precise":
            out.mkdir(parents=True)
            status = "failed" if out.name == "tofu-npo" else "done"
            (out / "manifest.json").write_text(json.dumps({"status": status}))
        return subprocess.CompletedProcess(words, 2 if out.name == "people-npo" else 0)

    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(unierase, "ROOT", tmp_path)
    monkeypatch.setattr(unierase, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(unierase.subprocess, "run", began)
    monkeypatch.setattr(sys, "argv", ["unierase"])
    assert unierase.main() == 1
    assert asked == list(unierase.COMMANDS), "one that fails does not stop the others"
    page = (tmp_path / "docs" / "unierase.md").read_text()
    assert "- `tofu-npo`: failed" in page and "- `precise`: not begun" in page
    assert "- `people-npo`: exit code 2" in page, "its folder is whole, but that of another plan"
    assert "`people-idk-ap`:" not in page
    for name in ("tofu-npo", "precise"):
        (tmp_path / "runs" / name).mkdir(exist_ok=True)
        (tmp_path / "runs" / name / "manifest.json").write_text(json.dumps({"status": "done"}))
    monkeypatch.setattr(sys, "argv", ["unierase", "--page"])
    assert unierase.main() == 0 and "Not finished" not in (tmp_path / "docs" / "unierase.md").read_text()


@pytest.fixture
def relearn(tmp_path, monkeypatch):
    """bench.relearn and a folder of finished runs, which a test can take from."""
    monkeypatch.syspath_prepend(str(ROOT))
    bench = importlib.import_module("bench.relearn")

    def finish(folder, words, rate=0.5, rows=400):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        about = {"machine": {"cpu": "a", "cores": 2}, "git": {"commit": "c" * 40, "dirty": False}, "precision": "bf16"}
        about |= {"status": "done", "created": "2026-01-01T", "command": ["unsay", "run", *words, f"out={folder}"]}
        (folder / "manifest.json").write_text(json.dumps(about))
        (folder / "data" / "forget.jsonl").write_text("{}\n" * 400)
        if rows != 400:
            (folder / "augmented.jsonl").write_text("{}\n" * rows)
        scores = [
            {"model": model, "metric": name, "value": value, "ci": [0.25, 0.75], "n": 110}
            for model, value in (("before", 0.5), ("after", rate))
            for name in bench.COLUMNS
        ]
        (folder / "scores.json").write_text(json.dumps(scores))

    def finish_all():
        for method in bench.METHODS:
            for lr, rate in zip(bench.GRID, (0.3, 0.4, 0.2), strict=True):
                finish(bench.tuned(tmp_path, method, lr), bench.tuning(method, lr), rate)
            for seed in bench.SEEDS:
                rows = 4200 if method == "relearn" else 400
                finish(tmp_path / f"{method}-{seed}", bench.words(method, "3e-4", seed), 0.32 + 0.1 * seed, rows)

    finish_all()
    return bench, tmp_path


def test_the_page_of_relearn_compares_equal_steps(relearn):
    bench, runs = relearn
    for method in bench.METHODS:
        plan, _ = read_plan(None, [*bench.tuning(method, "1e-4"), "out=x"])
        assert (plan.train.max_steps, plan.train.batch, plan.benchmark.questions) == (60, 8, "train")
        assert bench.chosen(runs, method) == "3e-4"
    page = bench.page(runs)
    assert "| relearn | 3e-4 | 3 of 3 | 4,200 | 0.11 | 0.420 [0.25, 0.75] |" in page
    assert "| npo+klr | 3e-4 | 3 of 3 | 400 | 1.20 | 0.420 [0.25, 0.75] |" in page
    assert "60 gradient steps of 8 rows. Equal steps are not equal passes" in page
    assert "`relearn`: LS_F is 0.84 of the taught model's; LS_R is 0.84" in page
    assert bench.unfinished(runs) == [] and "Not finished" not in page


def test_runs_of_relearn_that_failed_are_named(relearn, monkeypatch):
    bench, runs = relearn
    (runs / "ga+gdr-1" / "scores.json").unlink()
    failed = json.loads((runs / "npo+gdr-2" / "manifest.json").read_text()) | {"status": "failed", "error": "out of it"}
    (runs / "npo+gdr-2" / "manifest.json").write_text(json.dumps(failed))
    (runs / "relearn-0" / "manifest.json").write_text(json.dumps(failed | {"status": "done", "error": ""}))
    (runs / "tune" / "npo+klr-1e-3" / "manifest.json").unlink()
    page = bench.page(runs)
    assert bench.chosen(runs, "npo+klr") is None, "no choice from a part of the grid"
    assert "| ga+gdr | 3e-4 | 2 of 3 |" in page and "| npo+klr | – | 0 of 3 | – |" in page
    for line in (
        "- npo+gdr-2: out of it",
        "- relearn-0: another run is there",
        "- tune/npo+klr-1e-3: nothing is there",
        "- npo+klr-0, npo+klr-1, npo+klr-2: no learning rate before its grid is whole",
    ):
        assert line in page
    monkeypatch.setattr(bench, "RUNS", runs)
    monkeypatch.setattr(bench, "ROOT", runs)
    (runs / "docs").mkdir()
    monkeypatch.setattr(sys, "argv", ["relearn", "--page"])
    with pytest.raises(SystemExit) as left:
        bench.main()
    assert "npo+gdr-2: out of it" in left.value.code and (runs / "docs" / "knowundo.md").read_text() == page


def test_only_unfinished_runs_of_relearn_are_run(relearn, monkeypatch):
    bench, runs = relearn
    (runs / "ga+gdr-1" / "scores.json").unlink()
    for name in ("ga+gdr-1", "ga+gdr-2"):
        (runs / name / "model").mkdir()
    asked = []
    monkeypatch.setattr(bench.subprocess, "run", lambda command, check: asked.append(command[-1]))
    monkeypatch.setattr(bench, "RUNS", runs)
    monkeypatch.setattr(bench, "ROOT", runs)
    (runs / "docs").mkdir()
    monkeypatch.setattr(sys, "argv", ["relearn"])
    with pytest.raises(SystemExit):
        bench.main()
    assert asked == [f"out={runs / 'ga+gdr-1'}"]
    assert (runs / "ga+gdr-1" / "model").exists() and not (runs / "ga+gdr-2" / "model").exists()


def test_the_page_of_relearn_without_a_run(relearn, tmp_path):
    bench, _ = relearn
    page = bench.page(tmp_path / "none")
    assert page.startswith("# ReLearn") and page.count("nothing is there") == 12
