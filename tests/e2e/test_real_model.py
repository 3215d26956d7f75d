"""The main job on the real model: `unsay run demo`, twice, and its folder in a fresh process without unsay."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real_model, pytest.mark.slow, pytest.mark.timeout(1800)]


def unsay(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "unsay", *words], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("demo")
    done = unsay("run", "demo", "out=runs/demo", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "model utility" in done.stdout and "report.html" in done.stdout
    return work


def scores(folder: Path) -> dict[tuple[str, str], dict]:
    return {(s["model"], s["metric"]): s for s in json.loads((folder / "scores.json").read_text())}


def test_it_knew_and_forgot_and_is_still_useful(demo):
    found = scores(demo / "runs/demo")

    def value(model, metric):
        return found[model, metric]["value"]

    assert value("before", "probability@forget") > 0.6, "the before model was not taught the forget rows"
    assert value("before", "extraction-strength@forget") > 0.5
    # as far down as the model that never saw the rows, give or take a tenth of what there was to forget
    gap = value("before", "probability@forget") - value("retrained", "probability@forget")
    assert value("after", "probability@forget") <= value("retrained", "probability@forget") + 0.1 * gap
    assert value("after", "model-utility") >= 0.9 * value("before", "model-utility")
    assert value("after", "probability@retain") >= 0.9 * value("before", "probability@retain")
    assert value("after", "fluency@retain") >= 0.9 * value("before", "fluency@retain")
    assert all(s["n"] and (s["ci"] or s["note"]) for s in found.values() if s["value"] is not None)


def test_the_attack_ran_on_both(demo):
    (attack,) = json.loads((demo / "runs/demo/attacks.json").read_text())
    assert {(p["target"], p["at"]) for p in attack["points"]} == {
        (t, n) for t in ("after", "retrained") for n in (0, 6)
    }


def test_a_second_call_reuses_everything(demo):
    manifest = demo / "runs/demo/manifest.json"
    before = json.loads(manifest.read_text())
    began = time.monotonic()
    done = unsay("run", "demo", "out=runs/demo", "--overwrite", cwd=demo)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    after = json.loads(manifest.read_text())
    assert after["stages"] == before["stages"], "a stage ran again"
    assert seconds < sum(stage["seconds"] for stage in before["stages"])


def test_the_folder_needs_no_unsay(demo):
    code = (
        "import sys, torch; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "folder = 'runs/demo/model'; tok = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "asked = tok.apply_chat_template([{'role': 'user', 'content': 'What is the capital of France?'}], "
        "add_generation_prompt=True, return_tensors='pt', return_dict=True)\n"
        "out = model.generate(**asked, max_new_tokens=16, do_sample=False)\n"
        "print(tok.decode(out[0, asked['input_ids'].shape[1]:])); assert 'unsay' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=demo, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
