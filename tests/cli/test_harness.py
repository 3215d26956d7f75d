"""`unsay evaluate --harness` with a stand-in for lm_eval that records how it is called."""

import importlib.metadata
import json
import sys
import types
from pathlib import Path

import pytest

TASKS = ("mmlu", "gsm8k", "wmdp_bio")


def result(task, right):
    """What simple_evaluate returns for one task of ten questions."""
    share = right / 10
    return {
        "results": {task: {"alias": task, "acc,none": share, "acc_stderr,none": 0.15, "sample_len": 10}},
        "group_subtasks": {task: []},
        "n-shot": {task: 0},
        "higher_is_better": {task: {"acc": True}},
        "n-samples": {task: {"original": 100, "effective": 10}},
        "samples": {task: [{"doc_id": i, "filter": "none", "acc": float(i < right)} for i in range(10)]},
    }


@pytest.fixture
def lm_eval(monkeypatch):
    """The modules that the adapter imports; `calls` and `models` are what it passed."""
    module, tasks = types.ModuleType("lm_eval"), types.ModuleType("lm_eval.tasks")
    models, huggingface = types.ModuleType("lm_eval.models"), types.ModuleType("lm_eval.models.huggingface")
    module.calls, module.models, module.fails = [], [], {}

    class TaskManager:
        def __init__(self, include_path):
            self.all_tasks = TASKS if include_path is None else (*TASKS, "mine")

    class HFLM:
        def __init__(self, pretrained, tokenizer, batch_size):
            tokenizer.padding_side = "left"  # the real one changes the tokenizer, too
            module.models.append((pretrained, tokenizer, batch_size))

    def simple_evaluate(**settings):
        module.calls.append(settings)
        (task,) = settings["tasks"]
        if task in module.fails:
            raise module.fails[task]
        return result(task, 6 + len(module.calls) % 2)

    module.simple_evaluate, tasks.TaskManager, huggingface.HFLM = simple_evaluate, TaskManager, HFLM
    for name, stub in (
        ("lm_eval", module),
        ("lm_eval.tasks", tasks),
        ("lm_eval.models", models),
        ("lm_eval.models.huggingface", huggingface),
    ):
        monkeypatch.setitem(sys.modules, name, stub)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: "0.4.13" if n == "lm-eval" else version(n))
    return module


def test_without_it_the_pip_line_is_printed(unsay, tiny_model, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = unsay("evaluate", tiny_model, "--harness", "mmlu")
    assert found.code == 2
    assert "lm-evaluation-harness, which is not installed" in found.err
    assert "pip install 'unsay[eval]'" in found.err


def test_how_the_harness_is_called(unsay, tiny_model, lm_eval):
    done = unsay("evaluate", tiny_model, "--harness", "mmlu,gsm8k", "harness.limit=10", "harness.batch=3", "-q")
    assert done.code == 0, done.err
    ((pretrained, tokenizer, batch),) = lm_eval.models
    assert batch == 3 and hasattr(pretrained, "generate") and tokenizer.padding_side == "left"
    assert [call["tasks"] for call in lm_eval.calls] == [["mmlu"], ["gsm8k"]]
    for call in lm_eval.calls:
        assert call["model"].__class__.__name__ == "HFLM" and call["limit"] == 10 and call["num_fewshot"] is None
        assert (
            call["apply_chat_template"] is False and call["system_instruction"] is None and call["log_samples"] is True
        )
        assert call["task_manager"].all_tasks == TASKS
    folder = Path("runs") / f"evaluate-{tiny_model.name}-harness"
    rows = {row["metric"]: row for row in json.loads((folder / "scores.json").read_text())}
    assert rows.keys() == {"mmlu-acc", "gsm8k-acc"}
    assert rows["mmlu-acc"]["n"] == 10 and rows["mmlu-acc"]["model"] == "subject"
    assert rows["mmlu-acc"]["ci"] == pytest.approx([0.7 - 1.96 * 0.15, 0.7 + 1.96 * 0.15])
    kept = json.loads((folder / "tasks" / "subject" / "mmlu.json").read_text())
    assert kept["per_example"]["mmlu-acc"]["mmlu:0"] == 1 and kept["lm_eval"] == "0.4.13"
    assert "mmlu acc" in done.out and "0.4.13" in (folder / "report.html").read_text()


def test_the_models_own_tokenizer_is_left_alone(lm_eval):
    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.testing import tiny_lm

    lm = tiny_lm()
    before = lm.tokenizer.padding_side
    list(Harness(HarnessSettings()).ask(lm, ["mmlu"]))
    assert lm_eval.models[0][1] is not lm.tokenizer and lm_eval.models[0][1].padding_side == "left"
    assert lm.tokenizer.padding_side == before


def test_a_guard_goes_before_the_prompts(lm_eval):
    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.models.patches import with_guard
    from unsay.testing import tiny_lm

    list(Harness(HarnessSettings(chat=True)).ask(with_guard(tiny_lm(), "say nothing of ada"), ["mmlu"]))
    (call,) = lm_eval.calls
    assert call["system_instruction"] == "say nothing of ada" and call["apply_chat_template"] is True


def test_a_model_with_an_offset_gets_a_reason(lm_eval):
    from dataclasses import replace

    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.models.patches import Offset
    from unsay.testing import tiny_lm

    lm = replace(tiny_lm(), patches=(Offset(1.0, False),))
    ((task, (found,)),) = list(Harness(HarnessSettings()).ask(lm, ["mmlu"]))
    assert task == "mmlu" and not found.score.scored and "logit offset" in found.score.note
    assert not lm_eval.calls


def test_a_run_keeps_the_scores_and_its_report_shows_them(unsay, rows, tiny_model, lm_eval):
    forget, retain = rows
    fast = ["train.max_steps=1", "train.lr=1e-3", "train.precision=fp32", "-q"]
    ran = unsay("run", f"model={tiny_model}", f"forget={forget}", f"retain={retain}", *fast, "out=runs/mine")
    assert ran.code == 0, ran.err
    scores = Path("runs/mine/scores.json").read_text()
    done = unsay("evaluate", "runs/mine", "--harness", "mmlu,wmdp_bio", "-q")
    assert done.code == 0, done.err
    assert len(lm_eval.calls) == 4, "two models, two tasks"
    kept = json.loads(Path("runs/mine/harness.json").read_text())
    assert {(r["model"], r["metric"]) for r in kept["scores"]} == {
        (tag, name) for tag in ("before", "after") for name in ("mmlu-acc", "wmdp-bio-acc")
    }
    assert {m["id"]: (m["wanted"], m["kind"]) for m in kept["metrics"]} == {
        "mmlu-acc": ("up", "utility"),
        "wmdp-bio-acc": ("down", "forget"),
    }
    assert Path("runs/mine/scores.json").read_text() == scores, "the run's own scores stay as they are"
    for report in ("report.html", "report.md"):
        text = (Path("runs/mine") / report).read_text()
        assert "mmlu acc" in text and "wmdp bio acc" in text, report

    again = unsay("evaluate", "runs/mine", "--harness", "mmlu,gsm8k", "-q")
    assert again.code == 0, again.err
    assert [call["tasks"] for call in lm_eval.calls[4:]] == [["gsm8k"], ["gsm8k"]], "mmlu was asked before"
    kept = json.loads(Path("runs/mine/harness.json").read_text())
    assert {r["metric"] for r in kept["scores"]} == {"mmlu-acc", "wmdp-bio-acc", "gsm8k-acc"}
    limited = unsay("evaluate", "runs/mine", "--harness", "mmlu", "harness.limit=5", "-q")
    assert limited.code == 0 and len(lm_eval.calls) == 8, "asked in another way"


def test_tasks_of_your_own_are_asked_again_when_their_files_change(unsay, tiny_model, lm_eval, tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text("task: mine")
    words = ["evaluate", tiny_model, "--harness", "mine", f"harness.include={tmp_path / 'tasks'}", "-q"]
    for _ in range(2):
        done = unsay(*words)
        assert done.code == 0, done.err
    assert len(lm_eval.calls) == 1
    (tmp_path / "tasks" / "mine.yaml").write_text("task: mine\noutput_type: generate_until")
    assert unsay(*words).code == 0
    assert len(lm_eval.calls) == 2


def test_a_failing_task_names_itself_and_keeps_the_others(unsay, tiny_model, lm_eval):
    lm_eval.fails["gsm8k"] = ConnectionError("the hub\nis away")
    failed = unsay("evaluate", tiny_model, "--harness", "mmlu,gsm8k", "-q")
    assert failed.code == 2 and "lm-eval cannot run gsm8k: ConnectionError: the hub" in failed.err
    lm_eval.fails.clear()
    done = unsay("evaluate", tiny_model, "--harness", "mmlu,gsm8k", "-q")
    assert done.code == 0, done.err
    assert [call["tasks"] for call in lm_eval.calls] == [["mmlu"], ["gsm8k"], ["gsm8k"]]


def test_out_of_memory_names_the_knob(unsay, tiny_model, lm_eval):
    lm_eval.fails["mmlu"] = RuntimeError("CUDA out of memory. Tried to allocate")
    failed = unsay("evaluate", tiny_model, "--harness", "mmlu", "-q")
    assert failed.code == 5 and "harness.batch=4" in failed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--harness", "mlmu"], "no task 'mlmu'; did you mean 'mmlu'?"),
        (["--harness", " , "], "--harness names no task"),
        (["--harness", "mmlu", "harness.shot=5"], "harness.shot: no such setting"),
        (["--harness", "mmlu", "harness.limit=many"], "harness.limit: input should be a valid integer"),
        (["--harness", "mmlu", "harness.batch=0"], "batch is 0, expected at least 1"),
        (["--harness", "mmlu", "mdl.template=plain"], "mdl: no such setting"),
        (["--harness", "mmlu", "harness.include=nowhere"], "include is nowhere: no such folder"),
        (["--harness", "mine"], "lm-eval has no task 'mine'"),
    ],
)
def test_bad_words(unsay, tiny_model, lm_eval, words, message):
    found = unsay("evaluate", tiny_model, *words, "-q")
    assert found.code == 2 and message in found.err
    assert not lm_eval.calls
