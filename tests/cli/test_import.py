"""``unsay import`` as typed."""

import gzip
import json

import pytest

SECTIONS = (
    "eval_log_forget.json",
    "eval_log.json",
    "eval_real_author_wo_options.json",
    "eval_real_world_wo_options.json",
)


def written(path, shift=0.0, rows=8):
    """A small log of made-up losses."""
    log = {
        name: {
            "avg_gt_loss": {str(i): 0.1 * i + shift + 0.1 for i in range(rows)},
            "avg_paraphrased_loss": {str(i): 0.2 + 0.05 * i + shift for i in range(rows)},
            "average_perturb_loss": {str(i): [1.0 + 0.1 * i, 1.5] for i in range(rows)},
            "rougeL_recall": {str(i): (i % 3) / 2 for i in range(rows)},
            "generated_text": {str(i): [f"question {i}?", "said", f"answer {i}"] for i in range(rows)},
        }
        for name in SECTIONS
    }
    data = json.dumps(log).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def log(tmp_path):
    return written(tmp_path / "log.json")


def test_scores_and_a_report_that_can_be_written_again(unsay, log, tmp_path):
    done = unsay("import", "tofu-log", log, "--retrained", written(tmp_path / "retrained.json.gz", 0.3))
    assert done.code == 0, done.err
    assert "forget quality" in done.out and "model utility" in done.out and "retrained" in done.out
    folder = tmp_path / "work" / "runs" / "import-log"
    rows = json.loads((folder / "scores.json").read_text())
    assert {row["model"] for row in rows} == {"after", "retrained"}
    assert all(row["value"] is not None for row in rows)
    page = (folder / "report.html").read_text("utf-8")
    (folder / "report.html").unlink()
    again = unsay("report", folder)
    assert again.code == 0, again.err
    assert (folder / "report.html").read_text("utf-8") == page


def test_without_a_retrained_log_the_reason_is_shown(unsay, log, tmp_path):
    assert unsay("import", "tofu-log", log, "--out", "here").code == 0
    rows = json.loads((tmp_path / "work" / "here" / "scores.json").read_text())
    (quality,) = [row for row in rows if row["metric"] == "forget-quality@forget"]
    assert quality["value"] is None and "--retrained FILE" in quality["note"]


def test_a_malformed_file_is_bad_input(unsay, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"eval_log.json": {"avg_gt_loss": {"0": "x"}}}')
    done = unsay("import", "tofu-log", bad)
    assert done.code == 2
    assert "avg_gt_loss of row 0 is not a finite number" in done.err
    assert "hint: give TOFU's eval_log_aggregated.json" in done.err
    assert not (tmp_path / "work" / "runs").exists()
    missing = unsay("import", "tofu-log", tmp_path / "absent.json")
    assert missing.code == 2 and "cannot be read" in missing.err


def test_nothing_is_replaced_unless_told(unsay, log, tmp_path):
    assert unsay("import", "tofu-log", log, "--out", "here").code == 0
    again = unsay("import", "tofu-log", log, "--out", "here")
    assert again.code == 2 and "exists already" in again.err and "--overwrite" in again.err
    assert unsay("import", "tofu-log", log, "--out", "here", "--overwrite").code == 0
    mine = tmp_path / "work" / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("do not touch")
    other = unsay("import", "tofu-log", log, "--out", "mine", "--overwrite")
    assert other.code == 2 and "left alone" in other.err
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_relearn_rows(unsay, tmp_path):
    rows = [
        {"query": "q", "pred": "In Oslo.", "gold": "In Rome.", "nli": "contradiction", "ppl": 4.0, "ecs_pairs": 1.0}
        | {"entities_gold": ["Rome"], "entities_pred": ["Oslo"], "rougeL_recall": 0.5, "bi": 5.0, "hs": 9.0, "rttr": 2}
    ] * 3
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    done = unsay("import", "relearn", file, "--split", "forget")
    assert done.code == 0, done.err
    assert "kfr" in done.out and "linguistic score" in done.out
    found = json.loads((tmp_path / "work/runs/import-rows/scores.json").read_text())
    assert {row["metric"]: row["value"] for row in found}["kfr-paper-pairs@forget"] == 1.0
    file.write_text('{"query": "q"}\n{')
    bad = unsay("import", "relearn", file, "--split", "forget", "--out", "other")
    assert bad.code == 2 and "rows.jsonl:1" in bad.err and "rows.jsonl:2" in bad.err
    assert not (tmp_path / "work/other").exists()
    assert "--split forget" in unsay("import", "relearn", "--help").out


def test_open_unlearning(unsay, tmp_path):
    rows = {str(i): {"prob": 0.1 * i + 0.1, "avg_loss": 1.0} for i in range(5)}
    (tmp_path / "evals").mkdir()
    file = tmp_path / "evals" / "TOFU_EVAL.json"
    file.write_text(json.dumps({"forget_Q_A_Prob": {"agg_value": 0.3, "value_by_index": rows}}))
    done = unsay("import", "open-unlearning", tmp_path / "evals")
    assert done.code == 0, done.err
    assert "probability (forget)" in done.out and "clusters are unknown" in done.out
    file.write_text('{"forget_Q_A_Prob": 3}')
    bad = unsay("import", "open-unlearning", tmp_path / "evals", "--out", "other")
    assert bad.code == 2 and "forget_Q_A_Prob is not a table" in bad.err
    assert not (tmp_path / "work/other").exists()
    assert "--retrained" in unsay("import", "--help").out


def test_export(unsay, log, tmp_path):
    assert unsay("import", "tofu-log", log, "--retrained", log, "--out", "here").code == 0
    table = unsay("export", "here", "--format", "csv")
    assert table.code == 0 and table.out.startswith("model,metric,value")
    assert "after,probability@forget," in table.out
    done = unsay("export", "here", "--format", "open-unlearning", "--out", "ou")
    assert done.code == 0 and done.out == "open-unlearning ou\n"
    assert (tmp_path / "work/ou/after/TOFU_EVAL.json").is_file()
    back = unsay("import", "open-unlearning", "ou")
    assert back.code == 0, back.err
    rows = {(r["model"], r["metric"]): r["value"] for r in json.loads((tmp_path / "work/here/scores.json").read_text())}
    again = json.loads((tmp_path / "work/runs/import-ou/scores.json").read_text())
    assert {(r["model"], r["metric"]): r["value"] for r in again} == rows
    wrong = unsay("export", "here", "--format", "excel")
    assert wrong.code == 2 and "expected open-unlearning, csv, latex" in wrong.err
    assert "unsay import open-unlearning mine-ou" in unsay("export", "--help").out
