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
    assert unierase.page(tmp_path).count("##") == 0
    for words in unierase.COMMANDS.values():
        start = 1 if words[0] == "run" else 2
        changes = [word for word in words[start + 1 :] if "=" in word]
        assert read_plan(words[start], changes)[0].benchmark is not None, "a plan that can be read"
    about = {"machine": {"cpu": "a", "cores": 2}, "git": {"commit": "c" * 40, "dirty": False}, "created": "2026-01-01T"}
    for folder in ("people-unierase-0", "sequential"):
        (tmp_path / folder / "edit").mkdir(parents=True)
        (tmp_path / folder / "manifest.json").write_text(
            json.dumps(about | {"stages": [{"name": "unlearn", "seconds": 41.0}]})
        )
    (tmp_path / "sequential" / "sequential.md").write_text("# Title\n\nSaid.\n\n## Results\n\n| a |\n")
    row = {"value": 0.25, "ci": [0.1, 0.4], "n": 2, "note": "", "extra": {"rouge": 0.5}}
    names = ("probability@forget", "model-utility", "forgetting-effect@forget", "token-rate@retain")
    scores = [row | {"model": model, "metric": name} for model in ("before", "after") for name in names]
    found = (("after", 0.3), ("retrained", 0.9))
    points = [{"target": target, "metric": "probability@forget", "value": value} for target, value in found]
    (tmp_path / "people-unierase-0" / "scores.json").write_text(json.dumps(scores))
    attacks = [{"attack": "token-suppressed", "points": points}]
    (tmp_path / "people-unierase-0" / "attacks.json").write_text(json.dumps(attacks))
    (tmp_path / "people-unierase-0" / "edit" / "edit.json").write_text(json.dumps({"changed_share": 0.0329}))
    page = unierase.page(tmp_path)
    assert "| `unierase-0` | 0.250 [0.10, 0.40] | 0.250 [0.10, 0.40] | 41 s | 3.29 % | 0.300 | – |" in page
    assert "## Sequential" in page and "Said." in page and "## Results" not in page
