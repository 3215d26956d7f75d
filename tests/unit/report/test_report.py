import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from unsay.errors import DamagedError, RunError
from unsay.report.card import model_card
from unsay.report.report import write_report
from unsay.report.table import summary_rows

from_island = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


class Page(HTMLParser):
    """What a browser would do with the page: tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def report(folder, **options):
    return write_report(folder, **options).read_text("utf-8")


def test_the_whole_report(run_folder):
    folder = run_folder()
    text = report(folder)
    page = " ".join(" ".join(Page(text).text).split())
    for expected in (
        "Evidence, not proof of deletion",
        "Evidence grade A",
        "[0.89, 0.99]",
        "10 (2)",
        "relearn",
        "unsay run people-small method=npo out=runs/demo",
        "4 May 2026, 09:12 UTC",
        "no holdout= given",
        "quantised or pruned copies",
        "1 min 01 s",
        "5.2 GB",
        "AMD EPYC",
        "a1b2c3d4e5f6",
        "name: npo",
    ):
        assert expected in page, expected
    assert not re.search(r"certified|compliant|deleted", page, re.I)


def test_nothing_is_loaded_and_no_style_is_inline(run_folder):
    page = Page(report(run_folder()))
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img"), tag
        assert not {"src", "srcset", "action", "style"} & attrs.keys(), (tag, attrs)
        assert not any(a.startswith("on") for a in attrs), (tag, attrs)
        href = attrs.get("href") or attrs.get("xlink:href") or "#"
        assert href.startswith("#"), href


def test_ids_are_unique_and_pictures_are_xml(run_folder):
    text = report(run_folder())
    ids = [a["id"] for _, a in Page(text).tags if "id" in a]
    assert len(ids) == len(set(ids))
    pictures = re.findall(r"<svg role.*?</svg>", text, re.S)
    assert len(pictures) == 4
    for svg in pictures:
        ElementTree.fromstring(svg.replace("xlink:href", "href"))
        assert not re.search("#0[0-9]0[0-9]0[0-9]", svg)


def test_the_same_folder_gives_the_same_bytes(run_folder):
    folder = run_folder()
    assert report(folder) == report(folder)


def test_table_cells(run_folder):
    header, rows = summary_rows(run_folder())
    assert header == ["metric", "before", "after", "retrained", "wanted", "n (entities)"]
    assert [r[0] for r in rows][:2] == ["probability (forget)", "truth ratio (forget)"]
    assert re.fullmatch(r"0\.\d{3} \[0\.\d\d, 0\.\d\d\]", rows[0][2])
    assert rows[0][4:] == ["↓ lower", "10 (2)"]
    assert len(summary_rows(run_folder(), every=True)[1]) == 10


def test_missing_retrained(run_folder):
    from_all = json.loads((run_folder() / "scores.json").read_text())
    text = report(run_folder(scores=[s for s in from_all if s["model"] != "retrained"], attacks=None))
    assert "Evidence grade C" in text
    assert "no retrained model (give retrained=PATH" in text
    assert "No leak" not in text


def test_unscored_and_nan_show_a_dash_and_the_reason(run_folder):
    folder = run_folder()
    rows = json.loads((folder / "scores.json").read_text())
    rows[0] |= {"value": None, "ci": None, "note": "needs two entities"}
    rows[1] |= {"value": float("nan"), "ci": [float("nan"), 1.0]}
    text = report(run_folder(scores=rows))
    assert "needs two entities" in text
    shown = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)
    assert not re.search(r"\bnan\b", shown, re.I)


@pytest.mark.parametrize(
    "files", [{"samples": []}, {"samples": None}, {"events": None}, {"attacks": None}, {"plan": None}]
)
def test_missing_files_leave_a_report(run_folder, files):
    assert "Evidence, not proof of deletion" in report(run_folder(**files))


def test_only_a_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text('{"status": "failed", "error": "boom <b>"}')
    text = report(tmp_path)
    assert "boom &lt;b&gt;" in text and "run failed" in text
    assert summary_rows(tmp_path) == (["metric", "wanted", "n (entities)"], [])


def test_not_a_run(tmp_path):
    with pytest.raises(RunError, match=r"no manifest\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"), [("scores.json", "[{"), ("scores.json", '[{"model": 1}]'), ("samples.jsonl", "{}")]
)
def test_damaged_files_are_named(run_folder, name, text):
    folder = run_folder()
    (folder / name).write_text(text)
    with pytest.raises(DamagedError):
        write_report(folder)


def test_half_a_line_at_the_end_of_events_is_left_by_a_kill(run_folder):
    folder = run_folder()
    with open(folder / "events.jsonl", "a") as handle:
        handle.write('{"t": 1, "sta')
    assert "optimiser step" in report(folder)
    lines = (folder / "events.jsonl").read_text().replace('{"t": 0.0,', '{"t": 0.0', 1)
    (folder / "events.jsonl").write_text(lines)
    with pytest.raises(DamagedError, match=r"events\.jsonl:1"):
        report(folder)


def test_steps_repeated_after_a_resume_count_once(run_folder):
    once = [{"t": s, "stage": "unlearn", "step": s, "loss": 1.0 / s} for s in range(1, 9)]
    twice = [*({**e, "loss": 50.0} for e in once[4:6]), *once]
    assert report(run_folder(events=twice)) == report(run_folder(events=once))


def test_huge_texts_are_cut(run_folder):
    rows = json.loads("[" + ",".join((run_folder() / "samples.jsonl").read_text().splitlines()) + "]")
    rows[0]["answers"]["after"] = "word " * 400_000
    folder = run_folder(samples=rows)
    text = report(folder)
    assert len(text) < 400_000
    assert "more characters)" in text


def test_scores_of_rows_go_by_their_own_split(run_folder):
    row = {"id": "a", "split": "retain", "prompt": "q", "target": "t", "answers": {"after": "x"}}
    scores = {"probability@forget": {"after": 0.1}, "probability@retain": {"after": 0.9}}
    text = report(run_folder(samples=[row | {"scores": scores}]))
    data = json.loads(from_island.search(text)[1])
    assert data["metrics"] == ["probability"]
    after = data["tags"].index("after")
    assert data["rows"][0]["v"][0][after] == 0.9


def test_classes_of_rows_are_words(run_folder):
    row = {"id": "a", "split": "forget", "prompt": "q", "target": "t", "answers": {"after": "x"}}
    scores = {"forgotten-rows@forget": {"before": 1.0, "after": -1.0}, "probability@forget": {"after": 0.5}}
    labels = {"forgotten-rows@forget": {"before": "still known", "after": "over-forgotten"}}
    data = json.loads(from_island.search(report(run_folder(samples=[row | {"scores": scores, "labels": labels}])))[1])
    shown = dict(zip(data["metrics"], data["rows"][0]["v"], strict=True))
    named = dict(zip(data["tags"], shown["forgotten-rows"], strict=True))
    assert named == {"before": "still known", "after": "over-forgotten", "retrained": None}
    assert shown["probability"][data["tags"].index("after")] == 0.5


def test_a_dollar_sign_in_a_name_is_no_formula(run_folder):
    curve = json.loads((run_folder() / "attacks.json").read_text())[0] | {"axis": "$\\frac{1}{ $ per step"}
    text = report(run_folder(attacks=[curve]))
    assert "$\\frac{1}{ $ per step</text>" in text


def test_markdown_shows_texts_and_runs_none(run_folder):
    folder = run_folder()
    manifest = json.loads((folder / "manifest.json").read_text()) | {"command": ["unsay", "run", "name=```\n# <b>x"]}
    scores = json.loads((folder / "scores.json").read_text())
    scores[1]["value"], scores[1]["note"] = (
        None,
        "![x](http://evil.example/p.png) <img src=x> | `a` [b](javascript:c)\n# h",
    )
    folder = run_folder(manifest=manifest, scores=scores)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "<img" not in text and not re.search(r"(?<!\\)(!\[|\]\()", text)
    assert "http://" not in text and "javascript:" not in text
    assert "\n# h" not in text
    assert "````" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {7}


def test_card(run_folder):
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(run_folder(), redact=False))
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert {"unlearning", "npo"} <= set(card.data.tags)
    assert {r.metric_type for r in card.data.eval_results} >= {"probability@forget", "model-utility"}
    assert "## Evidence, not proof of deletion" in card.text


def test_card_of_a_local_model_names_no_base(run_folder, tmp_path):
    text = model_card(run_folder(plan=f"model: {{path: {tmp_path}}}\nmethod: {{name: npo}}\n"), license="mit")
    assert "base_model" not in text and "license: mit" in text
    assert str(tmp_path) not in text.split("To repeat it:")[0]
