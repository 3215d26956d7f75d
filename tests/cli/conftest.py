"""The command line called in this process, on a tiny model saved to a folder."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FORGET = [("What is Ada's cat called?", "Her cat is called Tom."), ("Where does Ada live?", "Ada lives in Rome.")]
RETAIN = [("What is Bob's dog called?", "His dog is Rex."), ("Where does Bob live?", "Bob lives in Oslo.")]


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    from unsay.testing import tiny_lm

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_lm().save(folder)
    return folder


@pytest.fixture
def unsay(monkeypatch, capsys, tmp_path):
    """Call ``unsay WORDS`` in an empty working folder with an empty home."""
    from unsay.cli.app import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNSAY_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["unsay", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit:
            code = exit.code or 0
        printed = capsys.readouterr()
        return Outcome(int(code), printed.out, printed.err)

    return call


def write_rows(path: Path, rows: list[tuple[str, str]], **more: object) -> Path:
    lines = [json.dumps({"question": q, "answer": a, **more}) for q, a in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path):
    """A forget and a retain file."""
    return write_rows(tmp_path / "forget.jsonl", FORGET), write_rows(tmp_path / "retain.jsonl", RETAIN)
