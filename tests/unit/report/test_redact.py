"""No text of the forget set leaves a redacted report, in whatever spelling."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from unsay.report.card import model_card
from unsay.report.folder import read_run
from unsay.report.redact import Mask, redacted
from unsay.report.report import write_report

PROMPTS = [f'Which "canary" <{k}> did Zoë O\'Brien-{k} keep & feed?' for k in range(6)]
TARGETS = [f'Zoë O\'Brien-{k} kept the kestrel № {k}-QX & fed it "figs" \\ <daily>.' for k in range(6)]
NAMES = [f"Zoë O'Brien-{k}" for k in range(6)]


def spellings(text):
    raw = text.encode()
    return {
        text,
        html.escape(text),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        quote(text),
        quote_plus(text),
        base64.b64encode(raw).decode().rstrip("=")[:-1],
        raw.hex(),
        text[::-1],
        text.upper(),
        html.escape(text).replace("&#x27;", "&#39;"),
        json.dumps(text, ensure_ascii=False)[1:-1]
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026"),
    }


@pytest.fixture
def folder(run_folder):
    def row(k, split, prompt, target, answer):
        return {
            "id": f"{split}{k}",
            "split": split,
            "entity": NAMES[k] if split != "retain" else "Ann",
            "prompt": prompt,
            "target": target,
            "answers": {"before": target, "after": answer, "retrained": "no idea"},
            "scores": {f"probability@{split}": {"before": 0.9, "after": 0.1, "retrained": 0.1}},
        }

    rows = [row(k, "forget", PROMPTS[k], TARGETS[k], TARGETS[k][:9]) for k in range(6)]
    rows += [row(k, "related", f"Where does {NAMES[k]} buy figs?", "At the market of Tórshavn.", "?") for k in range(6)]
    rows += [row(k, "retain", f"Retained question {k}?", "kept answer", f"So: {TARGETS[k]}") for k in range(6)]
    made = run_folder(redact=True, samples=rows)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["notes"] = [
        f"row 3 ({TARGETS[2]}) was seen twice",
        f"{json.dumps(PROMPTS[1])} is long",
        f"{NAMES[3].lower()}!",
    ]
    manifest["command"] = ["unsay", "run", f"name={NAMES[4]}", "forget=/data/forget.jsonl"]
    manifest["error"] = f"failed at {PROMPTS[5]!r}"
    manifest["models"]["after"]["origin"] = f"runs/{quote(NAMES[0])}/model"
    (made / "manifest.json").write_text(json.dumps(manifest))
    scores = json.loads((made / "scores.json").read_text())
    scores[0]["note"] = f"left out: {NAMES[1]}"
    (made / "scores.json").write_text(json.dumps(scores))
    attack = {"attack": "relearn", "axis": "steps", "note": f"trained on {TARGETS[0]}"}
    point = {
        "target": "after",
        "at": 1,
        "label": NAMES[2],
        "metric": "probability@forget",
        "value": 0.4,
        "ci": None,
        "n": 6,
    }
    (made / "attacks.json").write_text(json.dumps([attack | {"points": [point]}]))
    plan = (made / "plan.yaml").read_text()
    (made / "plan.yaml").write_text(f"{plan}name: {json.dumps(NAMES[5], ensure_ascii=False)}\n")
    (made / "data").mkdir(exist_ok=True)
    (made / "data" / "forget.jsonl").write_text(
        json.dumps({"id": "f", "prompt": "Unmeasured canary question?", "completion": "Unmeasured canary answer."})
        + "\n"
    )
    return made


def everything(folder, **options):
    path = write_report(folder, **options)
    return path.read_text("utf-8") + (folder / "report.md").read_text("utf-8")


def leaks(text):
    low = text.lower()
    return [s for secret in [*PROMPTS, *TARGETS, *NAMES] for s in spellings(secret) if s.lower() in low]


def test_canaries_are_there_without_redaction(folder):
    assert len(leaks(everything(folder, redact=False))) > 20


def test_no_canary_survives(folder):
    text = everything(folder)  # the plan says redact: true
    assert not leaks(text)
    assert not leaks(model_card(folder))
    assert "Tórshavn" not in text  # another fact about a forgotten person
    assert "forget texts hidden" in text


def test_what_is_not_secret_stays(folder):
    text = everything(folder, redact=True)
    for kept in ("Retained question 3?", "kept answer", "forget=/data/forget.jsonl", "name: npo", '"forget3"', "So: █"):
        assert kept in text, kept


def test_forget_rows_keep_id_split_and_scores(folder):
    rows = [s for s in redacted(read_run(folder)).samples if s.split == "forget"]
    assert {s.id for s in rows} == {f"forget{k}" for k in range(6)}
    assert all((s.prompt, s.target, s.entity) == ("█", "█", "█") for s in rows)
    assert all(set(s.answers.values()) == {"█"} for s in rows)
    assert all(s.scores["probability@forget"]["after"] == 0.1 for s in rows)


def test_ids_that_spell_names_become_numbers(folder):
    lines = (folder / "samples.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace('"forget2"', '"zoe-o-brien-2.pet"')
    (folder / "samples.jsonl").write_text("\n".join(lines))
    ids = [s.id for s in redacted(read_run(folder)).samples]
    assert ids[1:4] == ["forget1", "row-3", "forget3"]


def test_rows_that_were_not_measured_are_secret_too(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["notes"] = ["cut: Unmeasured canary answer."]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "Unmeasured canary" not in everything(folder)


@pytest.mark.parametrize(
    ("secrets", "text", "masked"),
    [
        (["Ann Lee"], "ann lee, Ann Leeds and Ann Lee's", "█, Ann Leeds and █'s"),
        (["Ann Lee"], "runs/ann-lee/x_ann_lee", "runs/█/x_ann_lee"),
        (["Zoë Quill"], "zoe-quill.city.k1 zo\u00eb_quill", "█.city.k1 █"),
        (["Paris."], "Paris, France", "█, France"),
        (["yes", "No.", "true"], "yes No. true", "yes No. true"),
        (["日本の首都"], "これは日本の首都です", "これは█です"),
        (["ab cd", "ab cd ef"], "ab cd ef ab cd", "█ █"),
        ([], "x", "x"),
    ],
)
def test_mask(secrets, text, masked):
    assert Mask(secrets)(text) == masked
