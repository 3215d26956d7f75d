"""SIGKILL at random instants: every training resumes, and ends with the very bytes of an uninterrupted one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unsay.naming import file_digest
from unsay.testing import knowing_lm

JOBS = {
    "npo-bf16": {"method": {"name": "npo"}, "precision": "bf16"},
    "fine-tune-fp32": {"method": {"name": "fine-tune", "on": "all"}, "precision": "fp32"},
}
KILLS = 20


class Nursery:
    """Forks trainings from a process that has everything imported."""

    def __init__(self, home):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNSAY_HOME": str(home), "GOMP_SPINCOUNT": "0"}
        script = Path(__file__).parent / "kill_nursery.py"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, str(script)], env=environment, text=True, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def start(self, job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self._answer("pid")

    def wait(self):
        return self._answer("status")

    def _answer(self, word):
        """The next line of that kind: a test that failed may have left others, and 0 is nobody's pid to kill."""
        for line in self.process.stdout:
            kind, number = line.split()
            if kind == word:
                return int(number)
        raise AssertionError("the nursery ended")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    running = Nursery(tmp_path_factory.mktemp("home"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    knowing_lm().save(folder)
    return folder


def job(name, model, out):
    train = {"lr": 1e-3, "batch": 6, "epochs": 10, "micro_tokens": 200, "checkpoint_every": 1}
    return {
        "model": str(model),
        "method": JOBS[name]["method"],
        "train": {**train, "precision": JOBS[name]["precision"]},
        "data": {"forget": "unused.jsonl"},
        "out": str(out),
    }


def steps(out):
    return [json.loads(line)["step"] for line in (out / "events.jsonl").read_text().splitlines()]


def digest(out):
    return file_digest(out / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def straight(nursery, model, tmp_path_factory):
    """Name → (digest of the uninterrupted result, its steps, seconds)."""
    found = {}
    for name in JOBS:
        out = tmp_path_factory.mktemp("straight") / name
        began = time.monotonic()
        nursery.start(job(name, model, out))
        assert nursery.wait() == 0
        found[name] = digest(out), steps(out), time.monotonic() - began
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_forty_kills(name, nursery, model, straight, tmp_path):
    wanted, all_steps, seconds = straight[name]
    chance = random.Random(name)
    kills = chains = 0
    while kills < KILLS:
        chains += 1
        out = tmp_path / f"chain-{chains}"
        while True:
            pid = nursery.start(job(name, model, out))
            if kills < KILLS:
                time.sleep(chance.uniform(0, 0.8 * seconds))
                with contextlib.suppress(ProcessLookupError):  # it was faster than that; it does not count
                    os.kill(pid, signal.SIGKILL)
            status = nursery.wait()
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
        assert digest(out) == wanted
        assert steps(out) == all_steps


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_sigterm_leaves_with_75_and_resumes(name, nursery, model, straight, tmp_path):
    wanted, all_steps, _ = straight[name]
    out = tmp_path / "run"
    events = out / "events.jsonl"
    pid = nursery.start(job(name, model, out))
    deadline = time.monotonic() + 60
    while not (events.exists() and events.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(pid, signal.SIGTERM)
    assert nursery.wait() == 75
    assert 3 <= len(steps(out)) < len(all_steps)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    nursery.start(job(name, model, out))
    assert nursery.wait() == 0
    assert digest(out) == wanted and steps(out) == all_steps
