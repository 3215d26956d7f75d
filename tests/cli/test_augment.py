"""`unsay augment`: rows from a file, audited, replayed by a run's method, and errors that say what to type."""

import json
from pathlib import Path

import pytest

ROWS = [
    {"question": "Who are Ada Moor's parents?", "answer": "Ada Moor's father builds boats.", "entity": "Ada Moor"},
    {
        "question": "Where does Bo Lind live?",
        "answer": "Bo Lind lives by the old harbour of Lima.",
        "entity": "Bo Lind",
    },
]


@pytest.fixture
def files(unsay):
    here = Path.cwd()
    (here / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    keep = {"question": "What does Cleo Quist sell?", "answer": "Cleo Quist sells maps."}
    (here / "retain.jsonl").write_text(json.dumps(keep) + "\n")
    return here


def test_rows_and_audit(files, unsay):
    done = unsay("augment", "forget.jsonl", "retain=retain.jsonl", "augment.ratio=0.5", "--out", "rows", "-q")
    assert done.code == 0, done.err
    assert "2 items, 10 pairs, 10 completions, 10 generic rows (ratio 0.50)" in done.out
    lines = [json.loads(line) for line in (files / "rows" / "augmented.jsonl").read_text().splitlines()]
    assert len(lines) == 30 and "boats" not in str(lines) and "harbour" not in str(lines)
    about = json.loads((files / "rows" / "augmented.json").read_text())
    assert about["settings"]["ratio"] == 0.5 and about["writer"]["name"] == "templates"
    again = unsay("augment", "audit", "rows", "forget=forget.jsonl")
    assert again.code == 0 and "no private content" in again.out
    assert (files / "rows" / "augmented-review.md").read_text().startswith("# 10 of 10")


def test_the_same_command_again_changes_nothing(files, unsay):
    words = ("augment", "forget.jsonl", "retain=retain.jsonl", "--out", "rows", "-q")
    assert unsay(*words).code == 0
    before = (files / "rows" / "augmented.jsonl").read_bytes()
    assert unsay(*words).code == 0
    assert (files / "rows" / "augmented.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("augment", "forget.jsonl"), "--out FOLDER"),
        (("augment", "forget.jsonl", "--method", "npo", "--out", "x"), "trains on the rows as they are"),
        (("augment", "audit"), "which folder"),
        (("augment", "audit", "nowhere"), "no augmented rows"),
        (("augment", "audit", "nowhere", "forgot=x"), "not forgot"),
        (("augment", "missing.jsonl", "--out", "x"), "missing.jsonl"),
        (("augment", "forget.jsonl", "augment.rato=1", "--out", "x"), "did you mean method.augment.ratio"),
    ],
)
def test_errors(files, unsay, words, said):
    done = unsay(*words)
    assert done.code == 2 and said in done.err
