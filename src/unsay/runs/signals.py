"""Stopping on request: the first signal asks, the second one insists.

After the first SIGINT, SIGTERM or SIGHUP the work goes on to its next safe point, commits a checkpoint and leaves
with exit code 75. A second one raises KeyboardInterrupt where the program stands; what was committed stays whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAID = b"\nunsay: stopping at the next safe point; a second signal stops at once\n"


class StopSignals:
    """Catches the three signals from `install` to `restore`.

    Does nothing outside the main thread, where Python allows no handlers. A signal that the process was started to
    ignore (``nohup``, a background job) stays ignored.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Begin to catch."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        with contextlib.suppress(OSError):
            os.write(2, _SAID)  # neither print nor logging may be re-entered from a handler
