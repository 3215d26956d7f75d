"""Who the models of a run are."""

import dataclasses
import json

import pytest

from unsay.augment import Augmenter
from unsay.config.decode import encode
from unsay.config.plan import Adapter, ModelSpec, Plan, Teach, Train
from unsay.methods.relearn import Relearn
from unsay.models.lm import LM
from unsay.naming import digest
from unsay.runs.manifest import ModelRecord
from unsay.runs.run import Run
from unsay.subjects import Subjects, plan_models
from unsay.testing import facts, tiny_lm
from unsay.writers.replay import Replay


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


@pytest.fixture
def unlearn(tmp_path, monkeypatch):
    """Makes *after* of a plan in a folder; ``unlearn.began`` is what each call of the method started from."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    tiny_lm().save(tmp_path / "tiny")
    began = []

    def kept(self, lm, data, run):
        began.append(lm.fingerprint())
        return lm

    monkeypatch.setattr(Relearn, "unlearn", kept)

    def go(name, edit=None, adapter=None, **settings):
        spec = ModelSpec(path=str(tmp_path / "tiny"), adapter=adapter)
        with Run.start(Plan(model=spec, out=str(tmp_path / name), **settings)) as run:
            models = Subjects(run, LM.load(dataclasses.replace(spec, adapter=None)), ())
            if edit:
                edit(run, models.before().fingerprint)
            models.after(models.before(), facts())

    go.began = began
    return go


def test_an_adapter_begins_as_the_seed_says(unlearn):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        unlearn(name, seed=seed, method=Relearn(), adapter=Adapter(rank=2))
    first, again, other = unlearn.began
    assert first == again != other


@pytest.mark.parametrize(("status", "trained"), [("done", 1), ("interrupted", 2)])
def test_runs_of_a_version_without_seeded_adapters(unlearn, status, trained):
    """What they finished stays; what they did not finish has another key."""
    settings = {"method": Relearn(), "adapter": Adapter(rank=2), "seed": 3}
    unlearn("run", **settings)

    def older(run, before):
        parts = [run.plan.method, run.plan.train, run.plan.model]
        record = run.manifest.stage("unlearn")
        record.key = digest([before, facts().fingerprint(), *map(encode, parts), run.plan.seed])
        record.status, record.seconds = status, 1e6

    unlearn("run", older, **settings)
    assert len(unlearn.began) == trained
    seconds = []
    unlearn("run", lambda run, _: seconds.append(run.manifest.stage("unlearn").seconds), **settings)
    assert len(unlearn.began) == trained and (seconds[0] >= 1e6) is (status == "done")


@pytest.mark.parametrize("setting", ["generic", "avoid", "writer"])
def test_files_of_the_method_count_by_their_content(unlearn, setting, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    file = folder / "writings.jsonl"
    value = Replay(path=str(folder)) if setting == "writer" else str(file)
    method = Relearn(augment=Augmenter(**{setting: value}))
    for text, trained in (("one", 1), ("one", 1), ("two", 2), ("two", 2)):
        file.write_text(json.dumps({"question": "Which?", "answer": text}))
        unlearn("run", method=method)
        assert len(unlearn.began) == trained
