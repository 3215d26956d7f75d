"""The way back: its ends, its middle, and the hill between."""

import json

import pytest
import torch

from unsay.attacks import linear_path
from unsay.attacks.linear_path import LinearPath, barrier
from unsay.config.plan import Adapter, Train
from unsay.data.screen import Screen
from unsay.errors import MethodError, ModelError, PlanError
from unsay.models.adapters import attach
from unsay.models.patches import with_screen
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, mean_nll, tiny_lm


def test_ends_and_middle():
    before, after = knowing_lm(), tiny_lm()
    prints = before.fingerprint(), after.fingerprint()
    run = Run.temporary(Train(precision="fp32"))
    found = list(LinearPath(places=(1.0, 0.5)).probes(after, facts(), run, before=before))
    assert [(p.label, p.at) for p in found] == [("alpha-0.5", 0.5), ("alpha-1", 1.0)]
    assert found[1].lm.fingerprint() == prints[0]
    for name, parameter in found[0].lm.model.named_parameters():
        both = before.model.get_parameter(name), after.model.get_parameter(name)
        assert torch.allclose(parameter, sum(both) / 2, atol=1e-6)
    assert (before.fingerprint(), after.fingerprint()) == prints

    report = json.loads((run.dir / "path.json").read_text())
    assert set(report["loss"]) == {"0.0", "0.5", "1.0"} and set(report["barrier"]) == {"forget", "keep"}
    assert report["loss"]["0.0"]["forget"] == pytest.approx(mean_nll(after, facts().forget), rel=1e-4)
    assert report["loss"]["1.0"]["keep"] == pytest.approx(mean_nll(before, facts().retain), rel=1e-3)
    flat = [torch.cat([p.detach().flatten() for p in lm.model.parameters()]).double() for lm in (before, after)]
    assert report["distance"] == pytest.approx(float((flat[0] - flat[1]).norm()), rel=1e-6)
    assert report["relative_distance"] == pytest.approx(float((flat[0] - flat[1]).norm() / flat[0].norm()), rel=1e-6)


def test_the_end_is_measured_even_where_it_is_no_place():
    run = Run.temporary()
    list(LinearPath(places=(0.5,)).probes(tiny_lm(), facts(), run, before=attach(knowing_lm(), Adapter(rank=2))))
    report = json.loads((run.dir / "path.json").read_text())
    assert set(report["loss"]) == {"0.0", "0.5", "1.0"}


def test_patches_are_dropped_and_said():
    run, lm = Run.temporary(), with_screen(tiny_lm(), Screen(("Who?",), "No."))
    (probe,) = LinearPath(places=(0.5,)).probes(lm, facts(), run, before=knowing_lm())
    assert not probe.lm.patches and any("without the model's screen" in note for note in run.manifest.notes)


def test_barrier_is_the_hill_above_the_straight_line():
    assert barrier({0.0: 4.0, 0.5: 3.0, 1.0: 2.0}) == pytest.approx(0.0)
    assert barrier({0.0: 4.0, 0.25: 5.0, 0.5: 3.5, 1.0: 2.0}) == pytest.approx(1.5)
    assert barrier({0.0: 4.0, 0.5: 1.0, 1.0: 2.0}) == 0.0


def test_what_is_missing_is_said():
    with pytest.raises(MethodError, match="model before unlearning"):
        list(LinearPath().probes(tiny_lm(), facts(), Run.temporary()))
    with pytest.raises(ModelError, match="not two states"):
        list(LinearPath().probes(tiny_lm(), facts(), Run.temporary(), before=tiny_lm(num_hidden_layers=2)))


@pytest.mark.parametrize("places", [(), (0.0,), (1.5,), (0.5, 0.5)])
def test_settings_are_checked(places):
    with pytest.raises(PlanError):
        LinearPath(places=places)


def test_the_model_before_is_read_once(monkeypatch):
    """Its losses are the same end of every path; and it has no way to go itself."""
    read, losses = [], linear_path._losses
    monkeypatch.setattr(linear_path, "_losses", lambda lm, *rest: read.append(lm) or losses(lm, *rest))
    before = knowing_lm()
    for lm, forwards in ((tiny_lm(), 3), (tiny_lm(seed=1), 2), (knowing_lm(), 0)):
        run = Run.temporary()
        probes = list(LinearPath(places=(0.5,)).probes(lm, facts(), run, before=before))
        assert (len(read), len(probes)) == (forwards, 1)
        read.clear()
    report = json.loads((run.dir / "path.json").read_text())
    assert (report["distance"], report["barrier"]) == (0.0, {"forget": 0.0, "keep": 0.0})
    assert len({str(loss) for loss in report["loss"].values()}) == 1
