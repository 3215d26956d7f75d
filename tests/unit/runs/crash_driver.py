"""Fault injection: stop or fail at the k-th call to the operating system during a checkpoint commit, for every k.

``python crash_driver.py FOLDER MODE`` prints one JSON line ``{"points": n, "problems": [...]}``. Each point is a forked
child that commits and prunes; the parent then looks at what is left, as the next start would.
"""

import builtins
import errno
import fcntl
import io
import json
import os
import shutil
import sys
import threading
from pathlib import Path

from unsay.errors import UnsayError
from unsay.runs import checkpoint

CALLS = ["open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "close"]
OLD, NEW = b"old" * 1000, b"new" * 1000


def write(data: bytes):
    def into(folder: Path) -> None:
        for name in ("model.safetensors", "inner/state.json"):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(handle, data[:1500])
            os.write(handle, data[1500:])
            os.close(handle)

    return into


class Fault:
    """Counts the wrapped calls of all threads; acts at number `at`."""

    def __init__(self, at: int, mode: str):
        self.at, self.mode, self.count = at, mode, 0
        self.guard = threading.Lock()

    def wrap(self, real):
        def call(*args, **kwargs):
            with self.guard:
                self.count += 1
                hit = self.count == self.at
            if hit and self.mode == "before":
                os._exit(9)
            if hit and self.mode in errno.errorcode.values():
                raise OSError(getattr(errno, self.mode), self.mode)
            result = real(*args, **kwargs)
            if hit and self.mode == "after":
                os._exit(9)
            return result

        return call

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.wrap(getattr(os, name)))
        builtins.open = io.open = self.wrap(io.open)
        fcntl.flock = self.wrap(fcntl.flock)


def attempt(root: Path, k: int, mode: str) -> int:
    """Exit status of a child that commits step 3 and prunes with a fault at call k; 0 when it made fewer calls."""
    child = os.fork()
    if child == 0:
        fault = Fault(k, mode)
        fault.install()
        status = 7
        try:
            checkpoint.commit(root, 3, write(NEW), {"step": 3})
            checkpoint.prune(root, keep=2)
            status = 0 if fault.count < k else 8
        except UnsayError:
            status = 8
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def look(root: Path, status: int) -> list[str]:
    """What is wrong with what the next start finds."""
    said: list[str] = []
    found = checkpoint.newest(root, say=said.append)
    problems = list(said)
    if found is None:
        return [*problems, "no checkpoint left"]
    step, folder, meta = found
    if step not in (2, 3) or meta != {"step": step}:
        problems.append(f"resumes from {step}")
    if (folder / "inner" / "state.json").read_bytes() != (NEW if step == 3 else OLD):
        problems.append("other content")
    if left := [path.name for path in root.iterdir() if path.name.startswith(".tmp-")]:
        problems.append(f"left behind: {left}")
    if not (root / "step-2").is_dir():
        problems.append("the checkpoint before is gone")
    if status not in (0, 8, 9):
        problems.append(f"exit status {status}")
    return problems


def main(base: Path, mode: str) -> None:
    origin = base / "origin"
    for step in (1, 2):
        checkpoint.commit(origin, step, write(OLD), {"step": step})
    problems, k = [], 0
    while True:
        k += 1
        root = base / "work"
        shutil.copytree(origin, root)
        status = attempt(root, k, mode)
        problems += [f"{mode} at call {k}: {problem}" for problem in look(root, status)]
        shutil.rmtree(root)
        if status == 0:
            break
    print(json.dumps({"points": k - 1, "problems": problems}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
