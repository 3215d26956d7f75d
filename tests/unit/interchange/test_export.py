"""A run's scores for other software; what open-unlearning's layout brings back is what went out."""

import csv
import io
import json
import re
import subprocess
import sys

import pytest

from unsay.errors import PlanError, RunError
from unsay.interchange.export import export
from unsay.interchange.export_latex import escape
from unsay.interchange.export_open_unlearning import evaluations
from unsay.interchange.open_unlearning import import_open_unlearning
from unsay.report.folder import read_run
from unsay.runs import atomic
from unsay.runs.manifest import Manifest


def score(model, metric, value, ci=None, n=4, note="", clusters=2):
    split = metric.partition("@")[2]
    of = {"model": model, "metric": metric, "split": split, "value": value, "ci": ci, "n": n, "clusters": clusters}
    return {**of, "note": note, "extra": {}}


VALUES = {
    "probability@forget": [0.1, 0.2, 0.6, 0.7],
    "rouge@forget": [0.0, 0.5, 0.25, 1.0],
    "truth-ratio@forget": [0.5, 1.0, 0.4, 0.8],
    "forget-quality@forget": [0.6931471805599453, 0.0, -0.916290731874155, 0.2231435513142097],
    "truth-ratio@retain": [0.0, 0.5, 0.9, 0.6],
    "fluency@forget": [0.9, 0.8, 0.7, 0.6],
    "repetition@forget": [0.0, 0.0, 0.0, 0.0],
}
MEANS = {name: sum(of) / 4 for name, of in VALUES.items()} | {"forget-quality@forget": 0.025}
SIGNAL = {"forget": [-1.0, -2.0, -3.0, -4.0], "holdout": [-2.5, -3.5, -5.0, -6.0]}


def made(folder, tags=("before", "after"), benchmark="people", plan="", note="ein & b_c"):
    """A run folder as the pipeline writes it."""
    folder.mkdir(parents=True)
    metrics = [
        {"id": name, "title": name.partition("@")[0].replace("-", " "), "split": name.partition("@")[2]}
        | {"wanted": "match", "kind": "forget", "summary": ""}
        for name in [*VALUES, "min-k@forget", "kfr@forget", "model-utility"]
    ]
    scores = []
    for tag in tags:
        scores += [score(tag, name, MEANS[name], [0.25, 0.75]) for name in VALUES]
        scores += [score(tag, "min-k@forget", 0.8125, [0.5, 0.9], 8), score(tag, "model-utility", 0.4)]
        scores += [score(tag, "kfr@forget", None, None, 0, note)]
    samples = []
    for split in ("forget", "retain", "holdout"):
        for i in range(4):
            values = {name: dict.fromkeys(tags, of[i]) for name, of in VALUES.items() if name.endswith(split)}
            if split in SIGNAL:
                values["min-k@forget"] = dict.fromkeys(tags, SIGNAL[split][i])
            texts = {"prompt": f"{split} q{i}", "target": f"{split} a{i}", "answers": dict.fromkeys(tags, f"said {i}")}
            samples.append({"id": f"x{split}{i}", "split": split, "entity": f"e{i % 2}", **texts, "scores": values})
    atomic.write_json(folder / "benchmark.json", {"name": benchmark, "cite": "", "headline": [], "metrics": metrics})
    atomic.write_json(folder / "scores.json", scores)
    atomic.write_jsonl(folder / "samples.jsonl", samples)
    if plan:
        (folder / "plan.yaml").write_text(plan)
    Manifest("r", "", [], "2026-01-01T00:00:00+00:00", 0).save(folder)
    return folder


def test_csv_has_one_line_a_model_and_metric(tmp_path):
    rows = list(csv.DictReader(io.StringIO(export(made(tmp_path / "run"), "csv"))))
    assert len(rows) == 2 * 10
    first = rows[0]
    assert list(first) == ["model", "metric", "value", "ci_low", "ci_high", "n", "clusters", "wanted", "note"]
    assert (first["model"], first["metric"], float(first["value"])) == ("before", "probability@forget", 0.4)
    assert (first["ci_low"], first["ci_high"], first["n"], first["clusters"]) == ("0.25", "0.75", "4", "2")
    assert first["wanted"] == "match"
    (lacking,) = [row for row in rows if row["metric"] == "kfr@forget" and row["model"] == "after"]
    assert (lacking["value"], lacking["ci_low"], lacking["note"]) == ("", "", "ein & b_c")


def test_latex_is_balanced_and_escaped(tmp_path):
    folder = made(tmp_path / "run", tags=("after", "my_model"))
    text = export(folder, "latex")
    assert r"\toprule" in text and r"\bottomrule" in text and r"\usepackage{booktabs}" in text
    assert r"my\_model" in text and r"$0.400_{[0.25,\,0.75]}$" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {4}
    assert text.count(r"\begin{") == text.count(r"\end{")
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert "--" in text, "what is unscored"
    assert text.isascii()


def test_small_numbers_are_powers_in_latex(tmp_path):
    folder = made(tmp_path / "run")
    rows = json.loads((folder / "scores.json").read_text())
    rows[0] |= {"value": 1.9e-05, "ci": [-0.5, 12345.0]}
    atomic.write_json(folder / "scores.json", rows)
    assert r"$1.9 \cdot 10^{-5}_{[-0.50" in export(folder, "latex")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b%c&d#e$f{g}", r"a\_b\%c\&d\#e\$f\{g\}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("é ↑ 語", r"é $\uparrow$ ?"),
        ("a\n\nb", "a b"),
        ("[x]*", "{[}x{]}{*}"),
        ("ﬁ²", "fi2"),
    ],
)
def test_characters_that_latex_acts_on(text, expected):
    assert escape(text) == expected


def test_open_unlearning_reads_back_to_the_same_numbers(tmp_path):
    given = read_run(made(tmp_path / "run"))
    folder = export(given.dir, "open-unlearning", tmp_path / "out")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.json")) == [
        f"{tag}/TOFU_{kind}.json" for tag in ("after", "before") for kind in ("EVAL", "SUMMARY")
    ]
    back = read_run(import_open_unlearning(folder, out=tmp_path / "back"))
    assert back.tags == given.tags
    for tag in given.tags:
        for metric in [*VALUES, "min-k@forget", "model-utility", "kfr@forget"]:
            one, other = given.score(tag, metric), back.score(tag, metric)
            assert other.value == one.value, metric
    assert back.score("after", "kfr@forget").note == "ein & b_c"
    assert back.score("after", "min-k@forget").n == 8
    assert back.score("after", "repetition@forget").ci[1] > 0.3, "four zeros are no proof of zero"
    samples = {s.prompt: s for s in back.samples}
    for sample in given.samples:
        if sample.split != "forget":
            continue
        twin = samples[sample.prompt]
        assert (twin.target, twin.entity, twin.answers) == (sample.target, sample.entity, sample.answers)
        for name, values in sample.scores.items():
            if name != "forget-quality@forget":
                assert twin.scores[name] == pytest.approx(values), name
    retain = [s.scores["truth-ratio@retain"]["after"] for s in back.samples if s.split == "retain"]
    assert retain == VALUES["truth-ratio@retain"]
    assert back.score("after", "probability@forget").clusters == 2, "the entities came along"


def test_names_and_rows_are_those_of_open_unlearning(tmp_path):
    files = evaluations(read_run(made(tmp_path / "run", tags=("after",))))
    assert set(files) == {"TOFU_EVAL.json", "TOFU_SUMMARY.json"}
    found = files["TOFU_EVAL.json"]
    assert found["forget_Q_A_Prob"]["value_by_index"]["2"] == {"prob": 0.6, "id": "xforget2", "entity": "e0"}
    assert found["forget_Q_A_ROUGE"]["value_by_index"]["1"]["ground_truth"] == "forget a1"
    ratios = [row["score"] for row in found["forget_truth_ratio"]["value_by_index"].values()]
    assert ratios == pytest.approx([2.0, 1.0, 0.4, 1.25]), "R itself, not what a row counts"
    assert found["retain_Truth_Ratio"]["value_by_index"]["1"] == {"aggregate": 0.5, "id": "xretain1", "entity": "e1"}
    assert found["mia_min_k"]["auc"] == found["mia_min_k"]["agg_value"] == 0.8125
    assert found["mia_min_k"]["holdout"]["value_by_index"]["0"]["score"] == 2.5
    assert found["fluency@forget"]["agg_value"] == pytest.approx(0.75)
    assert files["TOFU_SUMMARY.json"]["forget_quality"] == 0.025
    assert "kfr@forget" not in files["TOFU_SUMMARY.json"]
    assert "MUSE_EVAL.json" in evaluations(read_run(made(tmp_path / "muse", ("after",), "muse")))


def test_an_evaluation_makes_the_round(folders, tmp_path):
    """open-unlearning → run → open-unlearning: the same values under the same names."""
    given, content = folders
    run = import_open_unlearning(given["after"].parent, out=tmp_path / "run")
    back = export(run, "open-unlearning", tmp_path / "out")
    for tag, entries in content.items():
        found = json.loads((back / tag / "TOFU_EVAL.json").read_text())
        for name, entry in entries.items():
            if entry["agg_value"] is not None:
                assert found[name]["agg_value"] == entry["agg_value"], name
        ratios = [row["score"] for row in found["forget_truth_ratio"]["value_by_index"].values()]
        expected = [row["score"] for row in entries["forget_truth_ratio"]["value_by_index"].values()]
        assert ratios == pytest.approx(expected)


def test_what_the_plan_hides_stays_hidden(tmp_path):
    folder = made(tmp_path / "run", plan="redact: true\n")
    export(folder, "open-unlearning", tmp_path / "out")
    text = (tmp_path / "out" / "after" / "TOFU_EVAL.json").read_text("utf-8")
    assert "forget a1" not in text and '"prob": 0.6' in text


def test_files_are_written_once(tmp_path, monkeypatch):
    folder = made(tmp_path / "run")
    file = export(folder, "csv", tmp_path / "deep" / "scores.csv")
    assert file.read_text().startswith("model,metric")
    with pytest.raises(RunError, match="exists already"):
        export(folder, "csv", file)
    assert export(folder, "latex", file, overwrite=True).read_text().startswith("%")
    with pytest.raises(RunError, match="is a folder, expected a file"):
        export(folder, "csv", tmp_path)
    with pytest.raises(RunError, match="exists already"):
        export(folder, "open-unlearning", folder)
    with pytest.raises(PlanError, match="expected open-unlearning, csv, latex"):
        export(folder, "excel")
    with pytest.raises(RunError, match="not a run folder"):
        export(tmp_path, "csv")
    monkeypatch.chdir(tmp_path)
    assert str(export(folder, "open-unlearning")) == "run-open-unlearning"
    (folder / "scores.json").unlink()
    with pytest.raises(RunError, match="has no scores yet"):
        export(folder, "csv")


def test_no_torch():
    code = "import sys; import unsay.interchange.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
