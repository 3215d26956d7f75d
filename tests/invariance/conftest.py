"""No store outside the test."""

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty $UNSAY_HOME."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
