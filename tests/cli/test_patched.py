"""A run whose method changes no weight, from files to report: measured with the patch, and saying so."""

import json
from pathlib import Path

import pytest

from unsay.models.lm import LM
from unsay.report.card import model_card

SAID = "The weights are unchanged: the knowledge is still in the checkpoint"


@pytest.mark.parametrize("method", ["prompt-guard", "logit-offset"])
def test_run(unsay, rows, tiny_model, method):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", f"method={method}", "out=runs/mine"]
    fast = ["train.epochs=2", "train.batch=2", "train.lr=1e-2", "train.precision=fp32"]
    done = unsay("run", *words, *fast, "attacks=[{name: relearn, steps: [1]}]")
    assert done.code == 0, done.err
    folder = Path("runs/mine")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert any(note.startswith(SAID) for note in manifest["notes"])
    assert SAID in (folder / "report.html").read_text() and SAID in model_card(folder)
    scores = {(s["model"], s["metric"]): s["value"] for s in json.loads((folder / "scores.json").read_text())}
    assert scores["after", "probability@forget"] != scores["before", "probability@forget"]
    after = LM.load(folder / "model")
    assert after.fingerprint() == manifest["models"]["after"]["fingerprint"] and len(after.patches) == 1
    points = json.loads((folder / "attacks.json").read_text())[0]["points"]
    assert {p["at"] for p in points} == {0, 1}
