"""Who the models of a run are."""

import dataclasses

from unsay.config.plan import ModelSpec, Plan, Teach, Train
from unsay.models.lm import LM
from unsay.runs.manifest import ModelRecord
from unsay.runs.run import Run
from unsay.subjects import Subjects, plan_models
from unsay.testing import facts, tiny_lm


def test_seeds_of_a_method_can_share_one_taught_model(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    tiny_lm().save(tmp_path / "tiny")
    spec = ModelSpec(path=str(tmp_path / "tiny"))
    train = Train(lr=1e-2, epochs=1, batch=2, precision="fp32", checkpoint_every=0)
    rows = [*facts().forget, *facts().retain]

    def taught(seed, teach_seed):
        plan = Plan(model=spec, teach=Teach(train=train, seed=teach_seed), seed=seed)
        with Run.start(dataclasses.replace(plan, out=str(tmp_path / f"run-{seed}-{teach_seed}"))) as run:
            return Subjects(run, LM.load(spec), rows).before().fingerprint

    assert taught(0, None) == taught(1, 0) == taught(5, 0)
    assert taught(1, None) == taught(5, 1) != taught(0, None)


def test_a_pinned_revision_stays_pinned(tmp_path):
    plan = Plan(model=ModelSpec(path="org/m", revision="a" * 40))
    records = {
        "before": ModelRecord("org/m", "f"),
        "retrained": ModelRecord("models/other", "g"),
        "after": ModelRecord("models/after", "h", "model"),
    }
    found = plan_models(plan, records, tmp_path)
    assert {tag: spec.revision for tag, spec in found.items()} == {
        "before": "a" * 40,
        "retrained": None,
        "after": None,
    }
