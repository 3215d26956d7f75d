"""``unsay line`` on a finished run."""

import json
from pathlib import Path


def test_line(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", "method=grad-diff", "train.max_steps=2"]
    assert unsay("run", *words, "out=runs/mine", "--quiet").code == 0
    done = unsay("line", "runs/mine", "--at", "0,1,1.5", "--quiet")
    assert done.code == 0 and "1.5" in done.out
    found = json.loads(Path("runs/mine/line/line.json").read_text())
    assert [point["s"] for point in found["points"]] == [0, 1, 1.5]
    start, moved = (found["points"][i]["forget-probability"] for i in (0, 1))
    assert start["n"] == 2 and start["value"] != moved["value"] and 0 <= found["calibrated"]["s"] <= 1
    assert "<svg" in Path("runs/mine/line/line.svg").read_text()
    assert "UWC" in Path("runs/mine/line/line.md").read_text()


def test_value_and_interval_have_the_same_decimals():
    from unsay.report.line import table

    names = ("forget-probability", "forget-strength", "keep-probability", "keep-strength")
    point = {"s": 1.0, **{name: {"value": 0.12345, "ci": [0.1, 0.2]} for name in names}}
    assert "| 0.123 [0.100, 0.200] |" in table({"points": [point], "calibrated": {"keep": 1, "s": 1}, "kept_rows": ""})


def test_a_patch_leaves_no_line(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", "method=prompt-guard", "method.text=No."]
    assert unsay("run", *words, "out=runs/guard", "--quiet").code == 0
    bad = unsay("line", "runs/guard", "--at", "0,1", "--quiet")
    assert bad.code == 2 and "patch (guard)" in bad.err


def test_line_cuts_rows_as_the_run_did(unsay, rows, tmp_path):
    from unsay.testing import tiny_lm

    tiny_lm("gpt2").save(tmp_path / "short")  # 1024 positions, a character each
    forget, retain = rows
    given = [json.loads(line) for line in Path(forget).read_text().splitlines()]
    given[0]["answer"] = "abc " * 300
    Path(forget).write_text("".join(json.dumps(row) + "\n" for row in given))
    words = [f"model={tmp_path / 'short'}", f"forget={forget}", f"retain={retain}", "method=grad-diff"]
    words += ["train.max_steps=1", "data.max_length=400", "data.truncate=true", "out=runs/long", "--quiet"]
    assert unsay("run", *words).code == 0
    assert unsay("line", "runs/long", "--at", "0,1", "--quiet").code == 0


def test_what_line_refuses(unsay, tmp_path):
    bad = unsay("line", "runs/mine", "--at", "x")
    assert bad.code == 2 and "--at" in bad.err
    (tmp_path / "empty").mkdir()
    assert unsay("line", tmp_path / "empty").code == 2


def test_bench_names_its_experiments_and_refuses_what_it_cannot_read(unsay):
    assert "trade-off" in unsay("bench", "--help").out
    assert unsay("bench", "trade-off", "demo", "--seeds", "x").code == 2
    assert "whole numbers" in unsay("bench", "trade-off", "demo", "--seeds", "0,0.5").err
    assert "npo, npo" in unsay("bench", "trade-off", "demo", "--methods", "npo,npo").err
    bad = unsay("bench", "trade-off", "demo", "--methods", "nop")
    assert bad.code == 2 and "npo" in bad.err
    assert "auto" in unsay("bench", "trade-off", "demo", "--alphas", "often").err


def test_extrapolate_folders(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", "method=grad-diff", "train.max_steps=1"]
    assert unsay("run", *words, "out=runs/mine", "--quiet").code == 0
    done = unsay("extrapolate", tiny_model, "runs/mine/model", "further", "--alpha", "1")
    assert done.code == 0 and "parameters" in done.out and Path("further/model.safetensors").is_file()
    assert unsay("extrapolate", tiny_model, "runs/mine/model", "further").code != 0
    assert unsay("extrapolate", "runs", "runs/mine/model", "other").code == 2
    assert not Path("other").exists()
