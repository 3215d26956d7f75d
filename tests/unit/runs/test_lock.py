import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from unsay.errors import RunError
from unsay.runs.lock import FolderLock, holder

# Forks 50 starters that begin together; prints how each ended. The winner holds the folder until it is killed.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from unsay.config.plan import Plan
from unsay.errors import RunError
from unsay.runs.run import Run

folder = Path(sys.argv[1])
results = []
for n in (50, 5):
    go_read, go = os.pipe()
    read, say = os.pipe()
    children = []
    for _ in range(n):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(go_read, 1)
            try:
                run = Run.start(Plan(out=str(folder)))
                os.write(say, b"won %d\\n" % os.getpid())
                signal.pause()
            except RunError as error:
                os.write(say, b"lost %s\\n" % error.message.encode())
            os._exit(0)
        children.append(child)
    os.close(go_read)
    os.close(go)  # all of them start now
    lines = []
    with os.fdopen(read) as answers:
        while len(lines) < n:
            lines.append(answers.readline().strip())
    winner = [int(line.split()[1]) for line in lines if line.startswith("won")]
    for pid in winner:
        os.kill(pid, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    os.close(say)
    results.append(lines)
print(json.dumps(results))
"""


def test_fifty_starters_one_winner_and_no_stale_lock(tmp_path):
    done = subprocess.run([sys.executable, "-c", DRIVER, tmp_path / "run"], capture_output=True, text=True, check=True)
    for lines, n in zip(json.loads(done.stdout), (50, 5), strict=True):
        won = [line.split()[1] for line in lines if line.startswith("won")]
        lost = [line for line in lines if line.startswith("lost")]
        assert len(won) == 1
        assert len(lost) == n - 1
    # the second round's winner started although the first one's was killed; its losers name it
    assert all(f"in use by process {won[0]} on " in line for line in lost)


def test_the_holder_is_named_at_once(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(RunError) as caught:
        FolderLock(tmp_path)
    assert re.search(rf"in use by process {os.getpid()} on \S+ since 20\d\d-", caught.value.message)
    assert "out=" in caught.value.hint
    lock.release()
    FolderLock(tmp_path).release()


def test_one_that_is_gone_is_not_named(tmp_path):
    """Between taking the lock and writing its name, the file has the name of the last holder, who was killed."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    said = {"pid": gone.pid, "host": socket.gethostname(), "started": "2026-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(said))
    assert holder(tmp_path) == "another process"
    (tmp_path / ".lock").write_text(json.dumps(said | {"host": "elsewhere"}))
    assert holder(tmp_path).startswith(f"process {gone.pid} on elsewhere")


def test_release_frees_the_folder_although_a_child_inherited_the_handle(tmp_path):
    lock = FolderLock(tmp_path)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        lock.release()
        FolderLock(tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        FolderLock(tmp_path)
    assert (tmp_path / "precious").read_text() == "text"
