"""A benchmark that measures other questions than it unlearns: the retrained reference knows neither."""

import json

import pytest

BENCHMARK = """
from dataclasses import dataclass
from typing import ClassVar
from unsay.data.example import Example, ForgetData
from unsay.metrics.probability import Probability

def rows(name):
    return tuple(Example(f"what is {name} {i}", f"{name}{i}", id=f"{name}.{i}") for i in range(3))

@dataclass(frozen=True, kw_only=True)
class Asked:
    cite: ClassVar[str] = "test"

    def data(self):
        return ForgetData(forget=rows("trained"), retain=rows("kept"))

    def taught(self):
        return rows("trained") + rows("asked") + rows("kept")

    def splits(self):
        return {"forget": rows("asked"), "retain": rows("kept")}

    def metrics(self):
        return (Probability(), Probability(split="retain"))

    def wanted(self):
        return {"probability@forget": "match", "probability@retain": "up"}

    def headline(self):
        return ("probability@forget", "probability@retain")
"""


@pytest.fixture
def taught(monkeypatch):
    """Tag → ids of the rows that its model was taught."""
    from unsay.subjects import Subjects

    seen: dict[str, set[str]] = {}
    original = Subjects._teach

    def teach(self, tag, rows):
        seen[tag] = {row.id for row in rows}
        return original(self, tag, rows)

    monkeypatch.setattr(Subjects, "_teach", teach)
    return seen


def test_the_reference_knows_neither_the_unlearned_nor_the_measured_rows(unsay, tiny_model, tmp_path, taught):
    file = tmp_path / "asked.py"
    file.write_text(BENCHMARK, encoding="utf-8")
    fast = ["teach.train.max_steps=1", "teach.train.precision=fp32", "train.max_steps=1", "train.precision=fp32", "-q"]
    done = unsay("run", f"model={tiny_model}", f"benchmark={file}:Asked", "method=grad-ascent", *fast, "out=runs/a")
    assert done.code == 0, done.err
    assert taught["before"] == {f"{name}.{i}" for name in ("trained", "asked", "kept") for i in range(3)}
    assert taught["retrained"] == {f"kept.{i}" for i in range(3)}
    with open("runs/a/scores.json", encoding="utf-8") as scores:
        assert {row["model"] for row in json.load(scores)} == {"before", "after", "retrained"}
