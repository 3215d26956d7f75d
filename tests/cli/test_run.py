"""`unsay run` from files to report on a tiny model; reruns; the folder as anybody would load it."""

import json
from pathlib import Path

import pytest

from unsay import registry

FAST = ["train.epochs=2", "train.batch=2", "train.lr=1e-3", "train.precision=fp32"]


def stages(folder: Path) -> dict[str, dict]:
    return {s["name"]: s for s in json.loads((folder / "manifest.json").read_text())["stages"]}


def test_files_to_report(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", "method=npo", "method.beta=0.2", *FAST]
    first = unsay("run", *words, "out=runs/mine")
    assert first.code == 0, first.err
    folder = Path("runs/mine")
    assert {"plan.yaml", "manifest.json", "scores.json", "samples.jsonl", "report.html", "report.md", "model"} <= {
        p.name for p in folder.iterdir()
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "done" and manifest["models"]["after"]["path"] == "model"
    scores = {(s["model"], s["metric"]): s for s in json.loads((folder / "scores.json").read_text())}
    assert scores["after", "probability@forget"]["value"] != scores["before", "probability@forget"]["value"]
    assert "probability" in first.out and "report" in first.out

    began = stages(folder)["unlearn"]["seconds"]
    again = unsay("run", *words, "out=runs/mine")
    assert again.code == 0
    assert stages(folder)["unlearn"]["seconds"] == began, "a finished stage ran again"

    other = unsay("run", *words, "out=runs/mine", "seed=1")
    assert other.code == 2 and "seed" in other.err and "--overwrite" in other.err
    replaced = unsay("run", *words, "out=runs/mine", "seed=1", "--overwrite")
    assert replaced.code == 0 and json.loads((folder / "manifest.json").read_text())["seed"] == 1


def test_model_folder_loads_without_unsay(unsay, rows, tiny_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    forget, retain = rows
    done = unsay("run", f"model={tiny_model}", f"forget={forget}", f"retain={retain}", *FAST, "out=runs/mine")
    assert done.code == 0, done.err
    assert AutoModelForCausalLM.from_pretrained("runs/mine/model").config.vocab_size
    assert AutoTokenizer.from_pretrained("runs/mine/model").chat_template
    assert (Path("runs/mine/model/README.md")).is_file()


def test_attack_has_a_control_or_says_so(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", *FAST, "out=runs/a"]
    refused = unsay("run", *words, "attacks=relearn,logit-lens")
    assert refused.code == 2 and "logit-lens reads a model" in refused.err and not Path("runs/a").exists()
    path = "{name: linear-path, places: [1.0]}"
    done = unsay("run", *words, f"attacks=[{{name: relearn, steps: [1, 2]}}, multi-hop, {path}]")
    assert done.code == 0, done.err
    notes = json.loads(Path("runs/a/manifest.json").read_text())["notes"]
    assert any("multi-hop was not run: multi-hop needs facts with a schema" in note for note in notes)
    attack, path = json.loads(Path("runs/a/attacks.json").read_text())
    assert {p["at"] for p in attack["points"]} == {0, 1, 2} and attack["axis"] == "steps"
    assert "no retrained control" in attack["note"]
    scores = json.loads(Path("runs/a/scores.json").read_text())
    before = {row["metric"]: row["value"] for row in scores if row["model"] == "before"}
    assert path["points"] and path["axis"] == "share of the way back"
    assert all(p["value"] == pytest.approx(before[p["metric"]], abs=1e-6) for p in path["points"])
    controlled = unsay(
        "run", *[w for w in words if "out=" not in w], f"retrained={tiny_model}", "attacks=relearn", "out=runs/b"
    )
    assert controlled.code == 0, controlled.err
    (attack,) = json.loads(Path("runs/b/attacks.json").read_text())
    assert {p["target"] for p in attack["points"]} == {"after", "retrained"} and not attack["note"]


def test_lora_saves_a_plain_folder(unsay, rows, tiny_model):
    forget, retain = rows
    done = unsay(
        "run",
        f"model={tiny_model}",
        f"forget={forget}",
        f"retain={retain}",
        *FAST,
        "model.adapter.rank=2",
        "out=runs/l",
    )
    assert done.code == 0, done.err
    names = {p.name for p in Path("runs/l/model").iterdir()}
    assert "config.json" in names and not any(n.startswith("adapter") for n in names)


def test_without_retain_a_stand_in_is_named(unsay, rows, tiny_model):
    done = unsay(
        "run", f"model={tiny_model}", f"forget={rows[0]}", "train.max_steps=1", "train.precision=fp32", "out=runs/g"
    )
    assert done.code == 0, done.err
    notes = " ".join(json.loads(Path("runs/g/manifest.json").read_text())["notes"])
    assert "generic" in notes and "generic" in done.out


def test_evaluate_a_run_and_a_model(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", *FAST, "out=runs/mine"]
    assert unsay("run", *words).code == 0
    done = unsay("evaluate", "runs/mine", "--benchmark", "people-small", "benchmark.max_new_tokens=4")
    assert done.code == 0, done.err
    scores = json.loads(Path("runs/mine/evaluations/people-small/scores.json").read_text())
    assert {s["model"] for s in scores} == {"before", "after"}
    alone = unsay("evaluate", tiny_model, "--benchmark", "people-small", "benchmark.max_new_tokens=4")
    assert alone.code == 0, alone.err
    nothing = unsay("evaluate", tiny_model)
    assert nothing.code == 2 and "--benchmark" in nothing.err


def test_report_again_and_redacted(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", *FAST, "out=runs/mine"]
    assert unsay("run", *words).code == 0
    page = Path("runs/mine/report.html")
    assert "Her cat is called Tom." in page.read_text()
    assert unsay("report", "runs/mine", "--redact").code == 0
    assert "Her cat is called Tom." not in page.read_text() and "His dog is Rex." in page.read_text()


@pytest.mark.parametrize("kind", [*registry.KINDS, "presets"])
def test_list(unsay, kind):
    done = unsay("list", kind)
    assert done.code == 0 and len(done.out.splitlines()) >= 1


def test_show_and_plan(unsay):
    shown = unsay("show", "npo")
    assert shown.code == 0 and "2404.05868" in shown.out and "beta" in shown.out
    assert "combine = sum" in shown.out
    assert unsay("show", "demo").code == 0
    plan = unsay("plan", "tofu-forget01", "method=npo", "method.beta=0.3")
    assert plan.code == 0
    assert "beta: 0.3  # command line" in plan.out and "split: forget01  # preset tofu-forget01" in plan.out


def test_printed_plan_runs(unsay, tmp_path):
    printed = unsay("plan", "demo", "train.lr=3e-5").out
    file = tmp_path / "plan.yaml"
    file.write_text(printed)
    assert (
        unsay("plan", file).out.replace(f"  # {file}", "").split()
        == "\n".join(line.split("  # ")[0] for line in printed.splitlines()).split()
    )


def test_doctor(unsay, rows, tiny_model):
    done = unsay("doctor", f"model={tiny_model}", f"forget={rows[0]}", f"retain={rows[1]}")
    assert done.code == 0, done.err
    assert "torch" in done.out and "Her cat is called Tom." in done.out


def test_further_metrics_in_a_run_and_afterwards(unsay, rows, tiny_model):
    forget, retain = rows
    words = [f"model={tiny_model}", f"forget={forget}", f"retain={retain}", "method=grad-diff", "train.max_steps=1"]
    assert unsay("run", *words, "metrics=distinct-n", "out=runs/mine", "--quiet").code == 0
    scores = json.loads(Path("runs/mine/scores.json").read_text())
    assert {row["model"] for row in scores if row["metric"].startswith("distinct-n")} == {"before", "after"}
    later = unsay("evaluate", "runs/mine", "metrics=[calibrated-strength,{name: kfr, rule: strict}]", "--quiet")
    assert later.code == 0
    (folder,) = Path("runs/mine/evaluations").iterdir()
    found = {(r["model"], r["metric"]): r for r in json.loads((folder / "scores.json").read_text())}
    assert found["after", "calibrated-strength@forget"]["value"] is not None
    about = {m["id"]: m for m in json.loads((folder / "benchmark.json").read_text())["metrics"]}
    assert about["calibrated-strength@forget"]["wanted"] == "match" and "kfr@forget" in about
    assert unsay("evaluate", "runs/mine", "metrics=nothing").code == 2
