"""A run says beforehand which of the user's rows are odd, without another forward, and the report comes back to it."""

import json
from pathlib import Path

from unsay.measure.collect import Collector


def test_odd_rows_are_named_and_the_report_comes_back_to_them(unsay, tiny_model, tmp_path, monkeypatch):
    kept = [{"question": f"Where is Bob{i}?", "answer": "a" * (2 + i % 3)} for i in range(12)]
    odd = [{"question": f"What is {i}?", "answer": "~^|{}"[i % 5 :] + "Zz9#" * (1 + i % 3)} for i in range(10)]
    for name, rows in (("forget", odd), ("retain", kept)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = []
    collect = Collector.collect

    def counted(self, tag, *rest):
        measured.append(tag)
        return collect(self, tag, *rest)

    monkeypatch.setattr(Collector, "collect", counted)
    done = unsay(
        "run", f"model={tiny_model}", *(f"{name}={tmp_path / name}.jsonl" for name in ("forget", "retain")),
        "method=grad-ascent", "train.max_steps=2", "train.precision=fp32", "benchmark.max_new_tokens=2",
        "out=runs/mine",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert measured == ["before", "after"]
    folder = Path("runs/mine")
    found = json.loads((folder / "forecast.json").read_text())
    assert len(found["rows"]) == 10 and not found["note"]
    scores = [row["score"] for row in found["rows"].values()]
    assert any("forget rows are unlike" in n for n in json.loads((folder / "manifest.json").read_text())["notes"]) == (
        max(scores) >= 2
    )
    report = (folder / "report.md").read_text()
    for text in (report, (folder / "report.html").read_text()):
        assert "The forecast of costly rows cannot be checked: without a retrained model" in text
