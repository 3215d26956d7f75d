"""The benchmarks of bench/ run: what they reach into has not moved."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
