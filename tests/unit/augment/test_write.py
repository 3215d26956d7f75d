"""Texts on their way to disk: kept line by line, asked for again, replayed, gated whenever they are read."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from unsay.augment import Augmenter
from unsay.augment.gates import REPEATS
from unsay.augment.write import fill
from unsay.data.example import Example
from unsay.runs.run import Run
from unsay.writers.replay import Replay


def manifest(run):
    return json.loads(run.path("augmented.json").read_text())


def test_a_second_call_writes_nothing_new(rows, run, scripted):
    writer = scripted()
    first = Augmenter(writer=writer).augment(rows, run)
    asked = len(writer.calls)
    assert Augmenter(writer=writer).augment(rows, run).rows == first.rows
    assert len(writer.calls) == asked


KILLED = """
    import os, sys
    from dataclasses import dataclass
    from unsay.augment import Augmenter
    from unsay.config.plan import Plan
    from unsay.data.example import Example
    from unsay.runs.run import Run
    from unsay.writers.templates import Templates

    @dataclass(frozen=True, kw_only=True)
    class Slow:
        def write(self, rows, role, count, run, *, others=()):
            with open(sys.argv[2], "a") as log:
                print(role, *(row.id for row in rows), file=log)
            if role == "vague" and sys.argv[3] == "die" and rows[0].meta["item"] == "row12":
                os.kill(os.getpid(), 9)
            return {name: texts[:40] for name, texts in Templates().write(rows, role, count, run).items()}

    rows = [Example(f"Where does Ada Moor{i}son live?", f"In town number {i}x.", id=f"row{i}") for i in range(24)]
    with Run.start(Plan(out=sys.argv[1])) as run:
        Augmenter(writer=Slow(), ratio=0).augment(rows, run)
"""


def test_a_kill_loses_no_accepted_row(tmp_path):
    def go(how):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "out"), str(tmp_path / "log"), how]
        return subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)

    assert go("die").returncode == -signal.SIGKILL
    kept = [json.loads(line) for line in (tmp_path / "out" / "writings.jsonl").read_text().splitlines()]
    assert sum(line["role"] == "vague" for line in kept) >= 16
    (tmp_path / "log").unlink()
    done = go("live")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "writings.jsonl").read_text().splitlines()]
    assert lines[: len(kept)] == kept
    asked = {name for call in (tmp_path / "log").read_text().splitlines() for name in call.split()[1:]}
    assert not asked & {line["id"] for line in kept if line["role"] == "vague"}
    assert len((tmp_path / "out" / "augmented.jsonl").read_text().splitlines()) == 24 * 10


def test_kept_texts_go_through_the_gates_again(rows, run):
    """A line of the folder's own file that was edited is written anew, not trained on."""
    maker = Augmenter(ratio=0.0, variants=(), cuts=())
    first = maker.augment(rows, run)
    path = run.path("writings.jsonl")
    lines = [json.loads(line) for line in path.open()]
    lines[1]["texts"] = ["Ada Moor has a flat close to the harbour, in Oslo or so."]
    lines[2]["texts"] = []
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert maker.augment(rows, run).pairs == first.pairs
    assert "Oslo" not in path.read_text() and len(path.read_text().splitlines()) == len(lines)


def some(texts):
    """A writer of one text a row, and rows to write for."""
    return [Example(f"Which {i}?", f"{i}", id=str(i)) for i in range(len(texts))]


@pytest.mark.parametrize(("allowed", "written"), [(0, 18), (1, 19), (2, 20)])
def test_some_answers_may_come_twice(allowed, written, run, scripted):
    texts = [f"Text {i}." for i in range(18)] + ["Text 0.", "Text 1."]
    writer = scripted(texts={"vague": lambda row: (texts[int(row.id)],)})

    def go():
        used = set()

        def accept(row, text, again):
            if text not in texts:
                return "G3 the subject is missing"
            return REPEATS if text in used and not again else ""

        def taken(row, text):
            used.add(text)

        return fill(
            writer, some(texts), "vague", run, accept, taken, others=(), again=0, depends=None, repeats=allowed
        )[0]

    found = go()
    assert list(found.values()) == texts[:written]
    calls = len(writer.calls)
    assert go() == found and len(writer.calls) - calls <= 2 * (20 - written), "what is kept is counted alike"


def test_replay_gives_the_same_rows(rows, run):
    first = Augmenter().augment(rows, run)
    with Run.temporary(seed=9) as other:
        again = Augmenter(writer=Replay(path=str(run.dir))).augment(rows, other)
        about = manifest(other)
    assert [row.answer for row in again.pairs] == [row.answer for row in first.pairs]
    assert again.pairs == first.pairs and about["answers"]["accepted"] == {"try 1": 30}


def test_replay_of_a_folder_whose_file_was_edited(rows, run, tmp_path):
    maker = Augmenter(ratio=0.0, variants=(), cuts=(), writer=Replay(path=str(tmp_path)))
    line = {"id": f"{rows[1].id}#0", "role": "vague"}
    for said in ("Ada Moor is at home where many people are.", "Ada Moor is at home with many other people."):
        (tmp_path / "writings.jsonl").write_text(json.dumps({**line, "texts": [said]}) + "\n")
        assert maker.augment(rows[1:2], run).pairs[0].answer == said


def test_replay_of_a_file_that_lacks_rows(rows, run, tmp_path):
    Augmenter().augment(rows, run)
    lines = [json.loads(line) for line in run.path("writings.jsonl").open()]
    lacking = [line for line in lines if line["id"] not in (rows[0].id, f"{rows[1].id}#3")]
    (tmp_path / "writings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lacking))
    with Run.temporary(seed=5) as other:
        made = Augmenter(writer=Replay(path=str(tmp_path))).augment(rows, other)
        about = manifest(other)
    assert len(made.pairs) == 30
    assert all(about["questions"][kind]["accepted"] == {"try 1": 5, "templates": 1} for kind in about["questions"])
    assert about["answers"]["accepted"]["templates"] == 1


def test_a_model_that_talks_nonsense_leaves_it_to_the_rules(rows, run, tmp_path):
    from unsay.testing import tiny_lm
    from unsay.writers.local_chat import LocalChat

    tiny_lm().save(tmp_path / "chat")
    writer = LocalChat(path=str(tmp_path / "chat"), max_new_tokens=6)
    made = Augmenter(writer=writer, variants=("simple",), ratio=0.1).augment(rows[:2], run)
    assert len(made.pairs) == 4 and manifest(run)["answers"]["accepted"] == {"templates": 4}
    assert sum(manifest(run)["answers"]["rejected"].values()) >= 16
    assert any("template writer's" in note for note in run.manifest.notes)
