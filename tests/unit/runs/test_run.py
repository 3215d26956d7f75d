import gc
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unsay.config.decode import resolved
from unsay.config.plan import Plan, Train
from unsay.errors import CollapseError, DamagedError, Interrupted, PlanError, ResourceError, RunError
from unsay.runs import run as run_module
from unsay.runs.manifest import DataRecord, Manifest, ModelRecord
from unsay.runs.run import Run


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def started(**fields) -> Run:
    return Run.start(Plan(out="run", **fields))


def events(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.dir / "events.jsonl").read_text().splitlines()]


def test_the_folder_is_named_by_label_method_and_hash():
    with Run.start(Plan(name="mine")) as run:
        assert run.dir.parent == Path("runs")
        label, method, number = run.dir.name.split("-")
        assert (label, method, len(number)) == ("mine", "npo", 6)
        assert run.manifest.plan_hash.startswith(number)


def test_labels_do_not_change_the_hash_but_settings_do():
    hashes = []
    for i, plan in enumerate([Plan(), Plan(name="x", redact=True), Plan(seed=1)]):
        with Run.start(replace(plan, out=f"run{i}")) as run:
            hashes.append(run.manifest.plan_hash)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "a\nb", "-rf"])
def test_a_name_that_leaves_the_folder_is_refused(name):
    with pytest.raises(PlanError, match="cannot be a name"):
        Run.start(Plan(name=name))
    assert list(Path().iterdir()) == []


def test_the_plan_can_be_read_back():
    plan = Plan(out="run", train=Train(lr=3e-5, epochs=2), seed=4)
    with Run.start(plan, command=["unsay", "run", "seed=4"]):
        pass
    run = Run.open("run")
    assert (run.plan, run.seed, run.train) == (resolved(plan), 4, plan.train)
    assert (run.manifest.status, run.manifest.command) == ("done", ["unsay", "run", "seed=4"])


def test_finished_stages_are_done_after_a_restart():
    with started() as run, run.stage("teach", key="a") as stage:
        assert not stage.done
        stage.tokens += 70
    with started() as run:
        with run.stage("teach", key="a") as stage:
            assert stage.done
        with run.stage("teach", key="b") as stage:
            assert not stage.done
        with run.stage("report") as stage:
            pass
        with run.stage("report") as stage:
            assert not stage.done
    stages = Run.open("run").manifest.stages
    assert [(s.name, s.key, s.status, s.tokens) for s in stages] == [
        ("teach", "b", "done", 0),
        ("report", "", "done", 0),
    ]


def test_a_stage_that_raised_is_not_done_and_its_time_adds_up():
    with pytest.raises(CollapseError), started() as run, run.stage("unlearn", key="a") as stage:
        stage.tokens = 10
        raise CollapseError("loss is nan at step 3")
    about = Manifest.load(Path("run"))
    assert (about.status, about.error) == ("failed", "CollapseError: loss is nan at step 3")
    assert about.stages[0].status == "failed"
    about.stages[0].seconds = 100.0
    about.save(Path("run"))
    with started() as run, run.stage("unlearn", key="a") as stage:
        assert not stage.done
        stage.tokens = 5
    about = Manifest.load(Path("run"))
    assert (about.status, about.error, about.stages[0].tokens) == ("done", "", 15)
    assert about.stages[0].seconds >= 100


def test_interrupted_is_told_apart_from_failed():
    with pytest.raises(Interrupted), started() as run, run.stage("unlearn"):
        raise Interrupted("stopped by SIGTERM")
    about = Manifest.load(Path("run"))
    assert (about.status, about.stages[0].status) == ("interrupted", "interrupted")


def test_a_killed_run_is_taken_up():
    child = os.fork()
    if child == 0:
        stage = started().stage("unlearn", key="a")
        stage.__enter__()
        os._exit(9)
    os.waitpid(child, 0)
    assert Manifest.load(Path("run")).stages[0].status == "running"
    with started() as run:
        assert run.manifest.stages[0].status == "interrupted"


def test_peak_memory_belongs_to_its_stage():
    with started() as run:
        with run.stage("outer"):
            with run.stage("big"):
                block = np.ones(30_000_000)
                del block
            with run.stage("small"):
                pass
        peaks = {stage.name: stage.peak_bytes for stage in run.manifest.stages}
    assert peaks["big"] > peaks["small"] + 200_000_000
    assert peaks["outer"] >= peaks["big"]


def test_a_failed_start_leaves_nothing(monkeypatch):
    def full(self, folder):
        raise ResourceError("full")

    monkeypatch.setattr(Manifest, "save", full)
    with pytest.raises(ResourceError):
        started()
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}', '{"schema_version": 1}'])
def test_a_damaged_manifest_is_said(text):
    started().finish()
    Path("run/manifest.json").write_text(text)
    with pytest.raises(DamagedError, match=r"manifest\.json") as caught:
        started()
    assert caught.value.exit_code == 4
    Run.start(Plan(out="run"), overwrite=True).finish()


def test_another_schema_version_is_said():
    started().finish()
    Path("run/manifest.json").write_text('{"schema_version": 2, "new": 1}')
    with pytest.raises(RunError, match="schema version 2, this unsay reads 1"):
        started()


def test_reading_a_folder_without_a_run():
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(".")


def test_two_runs_in_one_process_do_not_share_a_folder():
    with started(), pytest.raises(RunError, match="in use by process"):
        started()
    started().finish()


def test_an_open_run_changes_neither_manifest_nor_events():
    with started() as run:
        run.log(step=1)
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    run = Run.open("run")
    with run.stage("evaluate") as stage:
        assert not stage.done
        run.log(step=2)
        run.note("n")
    run.write_json("scores.json", [])
    run.finish()
    after = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    assert after.pop("scores.json") == b"[]\n"
    assert after == before


def test_events_carry_time_stage_and_values():
    with started() as run:
        run.log(step=0)
        with run.stage("attack"):
            relearn = run.sub("relearn/after")
            with relearn.stage("train"):
                relearn.log(step=1, loss=float("nan"))
            run.log(step=2)
        lines = events(run)
    assert [line["stage"] for line in lines] == ["", "relearn/after/train", "attack"]
    assert lines[1]["loss"] is None
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)


def test_events_go_on_after_a_restart_and_can_be_rewound():
    with started() as run:
        run.log(step=1)
        mark = run.events_mark()
        run.log(step=2)
    with open("run/events.jsonl", "a") as half:
        half.write('{"t": 9, "st')
    with started() as run:
        run.events_rewind(mark)
        run.log(step=2, again=True)
        lines = events(run)
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[1]["again"]
    assert lines[1]["t"] >= lines[0]["t"]


def test_half_an_event_is_cut_off():
    with started() as run:
        run.log(step=1)
    with open("run/events.jsonl", "a") as half:
        half.write('{"t": 9, "st')
    with started() as run:
        run.log(step=2)
        assert [line["step"] for line in events(run)] == [1, 2]


def test_a_stage_done_anew_drops_its_old_events():
    with started() as run:
        for key in ("a", "b"):
            with run.stage("unlearn", key=key):
                run.log(key=key)
            run.log(key="between")
        assert [line["key"] for line in events(run)] == ["between", "b", "between"]


def test_an_event_log_that_cannot_be_written_does_not_end_the_run(caplog):
    with started() as run:
        (run.dir / "events.jsonl").mkdir()
        run.log(step=1)
        run.log(step=2)
    assert sum("events.jsonl is given up" in record.message for record in caplog.records) == 1
    assert Run.open("run").manifest.status == "done"


def test_notes_are_kept_once_and_logged(caplog):
    logging.getLogger("unsay").setLevel(logging.INFO)
    with started() as run:
        run.note("200 generic rows stand in for retain")
        run.sub("teach").note("200 generic rows stand in for retain")
    assert Run.open("run").manifest.notes == ["200 generic rows stand in for retain"]
    assert Path("run/log.txt").read_text().count("generic rows") == 1


def test_paths_stay_inside():
    with started() as run:
        assert run.path("checkpoints", "unlearn/x") == Path("run/checkpoints/unlearn/x")
        assert run.path("a/b").parent.is_dir()
        for parts in (("..",), ("a", "../../b"), ("/etc/passwd",), ("a//b",), ("",), ("a\\b",), (".lock",)):
            with pytest.raises(PlanError):
                run.path(*parts)
        Path("run/link").symlink_to("/tmp")
        with pytest.raises(RunError, match="leads out of"):
            run.write_text("link/x", "x")
        with pytest.raises(PlanError):
            run.sub("../other")


def test_sub_runs_share_lock_and_signals_but_not_settings():
    with started() as run:
        train = Train(lr=1.0)
        sub = run.sub("relearn", train=train, seed=5)
        assert (sub.dir, sub.train, sub.seed) == (Path("run/relearn"), train, 5)
        assert (run.sub("x").train, run.sub("x").seed) == (run.train, run.seed)
        run._shared.signals._handle(15, None)
        assert sub.stopping
        with pytest.raises(Interrupted) as caught:
            sub.check_stop()
        assert caught.value.exit_code == 75


def test_facts_are_recorded():
    with started() as run:
        run.check_stop()
        run.record(
            models={"after": ModelRecord("npo", "ab", "model")}, data={"forget": DataRecord(40, "cd", "f.jsonl")}
        )
        run.record(precision="bf16", threads=7)
    about = Run.open("run").manifest
    assert about.models["after"].path == "model"
    assert about.data["forget"].n == 40
    assert about.precision == "bf16"
    assert about.machine is not None
    assert about.machine.threads == 7
    assert about.machine.memory_bytes > 1e8
    assert about.packages["torch"].startswith("2.")


def test_other_versions_on_resume_are_noted(monkeypatch):
    started().finish()
    installed = run_module.manifest.packages()
    monkeypatch.setattr(run_module.manifest, "packages", lambda: {**installed, "torch": "9.9"})
    with started() as run:
        assert "→ 9.9" in run.manifest.notes[0]


def test_progress_reaches_the_reporter():
    calls: list[tuple] = []

    class Bar:
        def advance(self, n: float = 1) -> None:
            calls.append(("advance", n))

        def finish(self) -> None:
            calls.append(("finish",))

    class Shows:
        def task(self, label: str, total: float | None, unit: str) -> Bar:
            calls.append((label, total, unit))
            return Bar()

    with Run.start(Plan(out="run"), reporter=Shows()) as run:
        with run.sub("x").progress("unlearning", 3, "steps") as bar:
            bar.advance()
            bar.advance(2)
        with pytest.raises(KeyError), run.progress("other", None):
            raise KeyError
    assert calls == [
        ("x/unlearning", 3, "steps"),
        ("advance", 1),
        ("advance", 2),
        ("finish",),
        ("other", None, ""),
        ("finish",),
    ]


def test_a_temporary_run_cleans_up():
    run = Run.temporary(Train(lr=1.0), seed=3)
    with run.stage("x"):
        run.write_text("a/b", "text")
        run.log(step=1)
    folder = run.dir
    assert (folder / "a" / "b").read_text() == "text"
    assert (run.train.lr, run.seed) == (1.0, 3)
    del run
    gc.collect()
    assert not folder.exists()


def test_a_full_disk_does_not_hide_the_first_error(monkeypatch):
    run = started()

    def full(self, folder):
        raise ResourceError("full")

    with pytest.raises(CollapseError), run, run.stage("unlearn"):
        monkeypatch.setattr(Manifest, "save", full)
        raise CollapseError("nan")
    monkeypatch.undo()


def test_tokens_go_to_the_innermost_open_stage():
    with Run.start(Plan(out="run")) as run:
        run.spend(1)  # nowhere to count it
        with run.stage("outer"):
            run.spend(2)
            with run.sub("in").stage("inner"):
                run.spend(30)
            run.spend(400)
    assert {s.name: s.tokens for s in run.manifest.stages} == {"outer": 402, "in/inner": 30}
