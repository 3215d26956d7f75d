"""A folder from an earlier version, whose plan had fewer settings."""

import pytest

from unsay.config.plan import Plan, Teach, Train
from unsay.config.yaml12 import dump, load
from unsay.errors import RunError
from unsay.runs.folder import plan_hash
from unsay.runs.manifest import Manifest
from unsay.runs.run import Run


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
