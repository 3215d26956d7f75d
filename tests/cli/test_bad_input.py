"""Every check that stops a run early: its message, exit code 2, nothing left behind."""

from pathlib import Path

import pytest


def files() -> list[Path]:
    return sorted(p for p in Path().rglob("*"))


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ('{"question": "a?", "answer": ""}', "empty"),
        ('{"question": "a?", "answer": "b"}\n{"question": "c?"', ":2"),
        ('{"question": "a?", "answer": "b"}\n{"question": "a?", "answer": "b"}', "says the same as"),
        ('{"question": "What is Bob\'s dog called?", "answer": "His dog is Rex."}', "retain"),
        ('{"q": "a?", "a": "b"}', "question"),
        ("", "the file is empty"),
        ('{"question": "a?", "answer": 7}', "number"),
        ('{"question": "a?", "answer": "b", "answer": "c"}', "twice"),
    ],
)
def test_rows(unsay, tiny_model, tmp_path, rows, forget, message):
    forget_file = tmp_path / "f.jsonl"
    forget_file.write_text(forget + "\n" if forget else "")
    done = unsay("run", f"model={tiny_model}", f"forget={forget_file}", f"retain={rows[1]}", "out=runs/x")
    assert done.code == 2, done.out
    assert message in done.err and "hint:" in done.err and "Traceback" not in done.err
    assert files() == []


def test_all_problems_at_once(unsay, tiny_model, tmp_path):
    bad = tmp_path / "f.jsonl"
    bad.write_text('{"question": "a?", "answer": ""}\n{"question"\n{"question": "b?", "answer": 3}\n')
    done = unsay("run", f"model={tiny_model}", f"forget={bad}", "out=runs/x")
    assert done.code == 2
    assert all(f"f.jsonl:{line}" in done.err for line in (1, 2, 3))
    assert "a?" not in done.err, "the message shows the rows' texts"


def test_cut_answers(unsay, tiny_model, rows):
    done = unsay(
        "run", f"model={tiny_model}", f"forget={rows[0]}", f"retain={rows[1]}", "data.max_length=60", "out=runs/x"
    )
    assert done.code == 2 and "max_length" in done.err and files() == []


def test_no_chat_template(unsay, tiny_model, rows, tmp_path):
    import json
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    (bare / "MANIFEST.json").unlink()
    config = json.loads((bare / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    done = unsay("run", f"model={bare}", f"forget={rows[0]}", f"retain={rows[1]}", "out=runs/x")
    assert done.code == 2 and "model.template=plain" in done.err and files() == []
    plain = unsay(
        "run",
        f"model={bare}",
        f"forget={rows[0]}",
        f"retain={rows[1]}",
        "model.template=plain",
        "train.max_steps=1",
        "out=x",
    )
    assert plain.code == 0, plain.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["forget=missing.jsonl"], "missing.jsonl"),
        (["model=no/such/folder/anywhere", "forget={forget}"], "no/such/folder"),
        ([], "nothing to forget"),
        (["forget={forget}", "benchmark=people-small"], "drop one"),
        (["forget={forget}", "teach={}"], "teach needs a benchmark"),
        (["forget={forget}", "method=nop"], "did you mean 'npo'"),
        (["forget={forget}", "train.epoch=1"], "train.epochs"),
        (["forget={forget}", "train.extra={nonsense: 1}"], "nonsense"),
        (["nosuchpreset"], "no preset"),
    ],
)
def test_plans(unsay, tiny_model, rows, words, message):
    words = [w.replace("{forget}", str(rows[0])) for w in words]
    if not any(w.startswith("model=") for w in words):
        words.append(f"model={tiny_model}")
    done = unsay("run", *words)
    assert done.code == 2, done.out
    assert message in done.err and "Traceback" not in done.err
    assert files() == []


def test_not_a_run(unsay, tmp_path):
    assert unsay("report", tmp_path).code == 2
    assert unsay("show", "npoo").code == 2
