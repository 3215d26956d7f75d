"""One process per run folder: a lock held by the kernel, so that a killed holder leaves no stale one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from ..errors import RunError

NAME = ".lock"


class FolderLock:
    """Holds ``folder/.lock`` from construction to `release` or the end of the process.

    The file says who holds it: process id, host, start time (UTC).

    Args:
        folder: Made when it is missing.

    Raises:
        RunError: another process holds it (raised at once, naming the holder), or the disk has no locks.
    """

    def __init__(self, folder: Path):
        path = folder / NAME
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._handle)
                raise RunError(
                    f"{folder} is in use by {holder(folder)}", "wait until it ends, or give another folder with out="
                ) from None
            except OSError as error:
                os.close(self._handle)
                raise RunError(
                    f"{folder} cannot be locked: {error.strerror}", "choose a folder on a local disk with out="
                ) from None
            if _same_file(self._handle, path):
                break
            os.close(self._handle)  # the folder was replaced between opening and locking
        started = datetime.now(UTC).isoformat(timespec="seconds")
        said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started})
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, said.encode(), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two others hold two files of one name."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # also for children that inherited the handle
            os.close(self._handle)
            self._handle = -1


def holder(folder: Path) -> str:
    """Who says to hold the folder: ``process 4711 on anna since 2026-08-01T10:00:00+00:00``."""
    for _ in range(20):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads((folder / NAME).read_text())
            if not _gone(int(said["pid"]), said["host"]):
                return f"process {said['pid']} on {said['host']} since {said['started']}"
        time.sleep(0.02)  # it has the lock and is about to write its name, perhaps over that of one that was killed
    return "another process"


def _gone(pid: int, host: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return host == socket.gethostname()
    except OSError:
        return False  # it is somebody else's
    return False


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
