"""The page of an audit from files alone: the largest leak first, what the model said, and what redaction leaves."""

import json
import re

import numpy as np
import pytest

from unsay.audit.verdict import conclude
from unsay.errors import DamagedError
from unsay.report.audit import overview
from unsay.report.audit_words import sentence, verdict
from unsay.report.report import write_report

METRIC = "probability@forget"
IDS = [f"r{i}" for i in range(24)]


def level(rng, mean):
    return {METRIC: {i: float(mean + rng.normal(0, 0.02)) for i in IDS}}


@pytest.fixture
def folder(tmp_path):
    """nf4 brings half of it back; the prompt that was asked is in no row."""
    rng = np.random.default_rng(0)
    models = {"after": (0.1, 0.45), "before": (0.8, 0.8), "retrained": (0.1, 0.1)}
    said = [{"id": "r0", "prompt": "As a pirate: where does Zoe Quill live?", "text": "Arr, in Port Wexley."}]
    runs = {}
    for tag, (_, attacked) in models.items():
        about = {"label": "nf4", "at": 4.0, "kind": "weights", "seed": 0, "said": said if tag == "after" else []}
        about["note"] = "Zoe Quill 1 is hard" if tag == "after" else ""
        runs[tag] = {"axis": "bits", "points": [{**about, "values": level(rng, attacked)}]}
    record = {
        **{"profile": "quick", "target": "m", "from_run": True, "refused": {"multi-hop": "no schema"}},
        **{"entities": {i: f"Zoe Quill {n % 12}" for n, i in enumerate(IDS)}, "members": IDS, "others": []},
        **{"membership": {}, "base": {tag: level(rng, plain) for tag, (plain, _) in models.items()}},
        "models": {tag: {"origin": f"models/{tag}-zoe-quill-1", "fingerprint": tag} for tag in models},
        "attacks": [
            {"attack": "quantisation", "kind": "quantisation", "settings": {}, "given": "nothing", "runs": runs}
        ],
        "buckets": {"after": {"bits": 4, "share": [0.01, 0.03], "steps": [0.1, 0.1]}},
    }
    sample = {"split": "forget", "entity": "Zoe Quill 0", "prompt": "Where does Zoe Quill live?"}
    sample |= {
        "id": "r0",
        "target": "Zoe Quill lives in Port Wexley.",
        "answers": {"before": "Port Wexley."},
        "scores": {},
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "audit-quick", "notes": ["about Zoe Quill 0"]}))
    (tmp_path / "audit.json").write_text(json.dumps(conclude(record)))
    return tmp_path


def test_the_largest_leak_comes_first_in_words_with_what_was_said(folder):
    page = write_report(folder)
    assert page.name == "audit.html" and not (folder / "report.html").exists()
    text = (folder / "audit.md").read_text()
    head = text.splitlines()[2]
    assert "It still knows. Quantisation (nf4) brings back 49\u00a0% of what there was to forget by probability" in head
    assert re.search(r"0\.\d\d\d → 0\.4\d\d in the model", text, re.I) and "no excess" in text
    assert "Arr, in Port Wexley." in text and "As a pirate" in text and "Zoe Quill lives in Port Wexley." in text
    assert "2\u00a0% of the weights changed their bucket" in text and "Multi-hop: no schema." in text
    assert "evidence grade A" in text and "Zoe Quill 3" in text and "models/after-zoe-quill-1" in text
    assert "quantisation (nf4): Zoe Quill 1 is hard." in text and "no population" not in text
    assert "Under the attack" in text and "nearer to the control than to the model before (D" in text
    html = page.read_text()
    assert 'class="verdict is-leak"' in html and "data:image/svg+xml" in html
    said, header, rows = overview(folder)
    assert said[0].startswith("It still knows") and rows[0][:3] == ["Quantisation (nf4)", "probability", "leak"]
    assert len(header) == len(rows[0])


def test_redacted_nothing_that_was_asked_or_said_is_left(folder):
    write_report(folder, redact=True)
    for name in ("audit.md", "audit.html"):
        text = (folder / name).read_text()
        assert not [word for word in ("Zoe", "Quill", "zoe-quill", "Wexley", "pirate") if word in text]
        assert "entity 1" in text and "█" in text


def test_where_nothing_was_decided_the_page_does_not_say_no_leak(folder):
    found = json.loads((folder / "audit.json").read_text())
    rows = [row | {"status": "inconclusive", "clusters": 2, "asked": 40} for row in found["rows"]]
    nearer = found["relative"] | {"p": 0.2}
    (folder / "audit.json").write_text(json.dumps(found | {"rows": rows, "status": "open", "relative": nearer}))
    text = write_report(folder).with_suffix(".md").read_text()
    assert "Nothing was decided." in text and "No leak" not in text
    assert "The rows are about 2 entities: no population inference." in text and "24 of 40 (2)" in text
    assert "the model is not shown to be nearer to the control" in text


def test_a_damaged_file_is_named(folder):
    (folder / "audit.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"audit\.json"):
        write_report(folder)


def test_rows_that_differ_by_themselves_are_named():
    row = {"attack": "membership", "label": "loss", "metric": "loss-attack@forget", "kind": "membership", "n": 80}
    row |= {"status": "none", "count": 1, "levels": {"after": 0.35, "control": 0.33}, "how": ""}
    assert "differ by themselves (AUC of the control 0.330)" in sentence(row)
    assert "differ" not in sentence(row | {"levels": {"after": 0.55, "control": 0.52}})


def test_what_comes_back_to_the_level_of_the_control_is_not_called_no_excess():
    row = {"status": "none", "excess": 0.08, "ci": [0.07, 0.09], "margin": 0.05}
    assert verdict(row) == "not above the control"
    assert verdict(row | {"excess": 0.04}) == verdict(row | {"ci": [-0.01, 0.09]}) == "no excess"
    assert (
        verdict(row | {"ci": None}) == "no excess"
        and verdict({"status": "inconclusive", "ci": [0.1, 0.2]}) == "inconclusive"
    )
