import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from unsay.runs.run import Run
from unsay.runs.signals import StopSignals

# A run whose stage polls every 5 ms; "safe" finishes a step after the first signal, "stuck" never looks.
CHILD = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from unsay.config.plan import Plan
from unsay.errors import UnsayError
from unsay.runs.run import Run
from unsay.runs import checkpoint

try:
    run = Run.start(Plan(out=sys.argv[1]), command=["unsay", "run", "my plan.yaml"])
    with run, run.stage("unlearn", key="k"):
        print("ready", flush=True)
        for step in range(100_000):
            time.sleep(0.005)
            if sys.argv[2] == "safe" and run.stopping:
                checkpoint.commit(run.path("checkpoints"), step, lambda p: (p / "w").write_text("w"), {})
                run.check_stop()
except UnsayError as error:
    print(error)
    raise SystemExit(error.exit_code)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


def start(folder: Path, kind: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, folder, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_at_a_safe_point(tmp_path, number):
    child = start(tmp_path / "run", "safe")
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 75
    assert f"stopped by {number.name}" in out
    assert "resume with: unsay run 'my plan.yaml'" in out
    assert "a second signal stops at once" in err
    about = Run.open(tmp_path / "run").manifest
    assert (about.status, about.stages[0].status) == ("interrupted", "interrupted")


def test_two_signals_stop_at_once_and_the_folder_stays_valid(tmp_path):
    child = start(tmp_path / "run", "stuck")
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert child.stderr.readline() == "\n"  # the first one was taken
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert Run.open(tmp_path / "run").manifest.status == "interrupted"


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    stop = StopSignals()
    stop.install()
    assert signal.getsignal(signal.SIGTERM) != before[1]
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received is signal.SIGTERM
    stop.restore()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopSignals()
        stop.install()
        os.kill(os.getpid(), signal.SIGHUP)
        stop.restore()
        assert stop.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)

    def install() -> None:
        stop = StopSignals()
        stop.install()
        stop.restore()

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
