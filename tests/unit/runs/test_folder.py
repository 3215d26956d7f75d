"""What a folder may hold already: another plan, somebody's files, a run of an earlier version."""

from pathlib import Path

import pytest

from unsay.config.plan import Plan, Teach, Train
from unsay.config.yaml12 import dump, load
from unsay.errors import RunError
from unsay.runs.folder import plan_hash
from unsay.runs.manifest import Manifest
from unsay.runs.run import Run


def started(**fields) -> Run:
    return Run.start(Plan(out="run", **fields))


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_another_plan_in_the_folder_names_the_differences():
    started().finish()
    with pytest.raises(RunError) as caught:
        started(train=Train(lr=3e-5), seed=2)
    assert "train.lr: 1e-05 there, 3e-05 now" in caught.value.message
    assert "seed: 0 there, 2 now" in caught.value.message
    assert "--overwrite" in caught.value.hint
    with started() as run:  # and the folder is free again
        assert run.manifest.status == "running"


def test_overwrite_replaces_what_was_there():
    with started() as run:
        run.write_text("model/weights", "old")
    with Run.start(Plan(out="run", seed=2), overwrite=True) as run:
        assert not (run.dir / "model").exists()
        assert run.manifest.seed == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_somebody_elses_folder_is_left_alone(overwrite):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"not a run folder: it holds 'thesis\.tex'"):
        Run.start(Plan(out="run"), overwrite=overwrite)
    assert Path("run/thesis.tex").read_text() == "years of work"


def test_a_file_in_place_of_the_folder_is_said():
    Path("run").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        started()


@pytest.fixture
def older(tmp_path):
    """The folder of a plan, as a version that did not know `teach.seed` and `train.warmup` would have left it."""
    plan = Plan(out=str(tmp_path / "run"), teach=Teach())
    with Run.start(plan) as run, run.stage("teach", key="k") as stage:
        assert not stage.done
    document = load((run.dir / "plan.yaml").read_text(), "plan.yaml")
    del document["teach"]["seed"], document["train"]["warmup"]
    (run.dir / "plan.yaml").write_text(dump(document))
    manifest = Manifest.load(run.dir)
    manifest.plan_hash = plan_hash(document)
    manifest.save(run.dir)
    return plan


def test_new_settings_at_their_defaults_are_the_same_plan(older):
    for _ in range(2):  # the second time it is a folder of this version
        with Run.start(older) as run, run.stage("teach", key="k") as stage:
            assert stage.done
        assert "warmup" in (run.dir / "plan.yaml").read_text()


def test_new_settings_of_another_value_are_another_plan(older, tmp_path):
    with pytest.raises(RunError, match=r"train.warmup: None there, 0.5 now"):
        Run.start(Plan(out=str(tmp_path / "run"), teach=Teach(), train=Train(warmup=0.5)))


def test_an_edited_plan_is_another(older, tmp_path):
    file = tmp_path / "run" / "plan.yaml"
    file.write_text(dump(load(file.read_text(), "plan.yaml") | {"seed": 5}))
    with pytest.raises(RunError, match="seed: 5 there, 0 now"):
        Run.start(older)
