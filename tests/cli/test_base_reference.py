"""A taught model without a retrained one is attacked against the model before it was taught."""

import json
from pathlib import Path

BENCHMARK = """
from dataclasses import dataclass
from typing import ClassVar
from unsay.data.example import Example, ForgetData
from unsay.metrics.reference_attack import ReferenceAttack

def rows(name):
    return tuple(Example(f"what is {name} {i}", f"{name}{i}", id=f"{name}.{i}") for i in range(3))

@dataclass(frozen=True, kw_only=True)
class Small:
    cite: ClassVar[str] = "test"

    def data(self):
        return ForgetData(forget=rows("gone"), retain=rows("kept"))

    def taught(self):
        return rows("gone") + rows("kept")

    def splits(self):
        return {"forget": rows("gone"), "holdout": rows("unseen")}

    def metrics(self):
        return (ReferenceAttack(),)

    def wanted(self):
        return {"reference-attack@forget": "match"}

    def headline(self):
        return ("reference-attack@forget",)
"""


def notes(file):
    with open(file, encoding="utf-8") as scores:
        return {row["model"]: row["note"] for row in json.load(scores)}


def test_the_reference_is_the_base_model(unsay, tiny_model, tmp_path):
    file = tmp_path / "small.py"
    file.write_text(BENCHMARK, encoding="utf-8")
    fast = ["teach.train.max_steps=1", "teach.train.precision=fp32", "train.max_steps=1", "train.precision=fp32", "-q"]
    done = unsay(
        "run", f"model={tiny_model}", f"benchmark={file}:Small", "method=grad-ascent", "teach.retrained=false", *fast,
        "out=runs/a",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = notes("runs/a/scores.json")
    assert found.keys() == {"before", "after"}
    assert all("reference: base" in note for note in found.values())
    assert unsay("evaluate", "runs/a", "-q").code == 0
    (again,) = Path("runs/a/evaluations").glob("*/scores.json")
    assert notes(again) == found
