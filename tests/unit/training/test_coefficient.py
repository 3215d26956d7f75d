"""The line between two models, and the coefficient found on it."""

import dataclasses
import math

import pytest
import torch

from unsay.config.decode import read_plan
from unsay.config.plan import Adapter, Train
from unsay.data.example import ForgetData
from unsay.errors import MethodError, ModelError, PlanError
from unsay.methods.extrapolate import Extrapolate
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.iau import IAU
from unsay.methods.logit_offset import LogitOffset
from unsay.methods.npo import NPO
from unsay.methods.prompt_guard import PromptGuard
from unsay.models.adapters import attach
from unsay.models.line import Line
from unsay.models.weights import extrapolate
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, tiny_lm
from unsay.training.batch import encode_rows
from unsay.training.coefficient import calibrated, farthest, inspect, looked_at, probability
from unsay.training.epochs import best_epoch
from unsay.training.trainer import discard_checkpoints

TRAIN = Train(lr=1e-3, batch=8, epochs=4, micro_tokens=4096, precision="fp32", checkpoint_every=0)


def after(method=None, **train):
    with Run.temporary(dataclasses.replace(TRAIN, **train)) as run:
        return (method or GradDiff()).unlearn(knowing_lm(), facts(), run)


def mean(place, name):
    values = place.values[name].values()
    return sum(values) / len(values)


def test_the_line_is_the_extrapolation_at_every_point():
    one, other = tiny_lm(seed=0), tiny_lm(seed=1)
    line = Line(one, other)
    for s in (0.0, 0.4, 1.0, 2.5, -1.0):
        assert line.at(s).fingerprint() == extrapolate(one, other, s).fingerprint()
    assert line.at(0.0).fingerprint() == one.fingerprint() != other.fingerprint() == line.at(1.0).fingerprint()


@pytest.mark.parametrize("method", [GradDiff(), NPO(), GradAscent(), NPO(retain="kl"), GradDiff(retain_weight=3.0)])
def test_near_the_best_of_a_dense_grid_at_a_tenth_of_the_looks(method):
    lm, moved = knowing_lm(), after(method)
    with Run.temporary(TRAIN) as run:
        found = farthest(Line(lm, moved), facts(), run, keep=0.9, most=4.0)
    line = Line(lm, moved)
    grid = [inspect(line.at(4 * i / 150), facts(), 4 * i / 150) for i in range(151)]
    seen = [(mean(p, "forget-probability"), mean(p, "keep-probability")) for p in grid]
    best = min(forget for forget, keep in seen if keep >= 0.9 * seen[0][1] and forget >= found.floor)
    chosen = next(p for p in found.points if p.s == found.chosen)
    assert chosen.keep >= 0.9 * found.points[0].keep and chosen.forget >= found.floor
    assert chosen.forget <= best + 0.02 * seen[0][0]
    assert len(found.points) <= 12


def test_looks_in_bfloat16_find_the_same_and_leave_float32_weights():
    lm, moved = knowing_lm(), after()
    found = {}
    for precision in ("fp32", "bf16"):
        line = Line(lm, moved)
        with Run.temporary(dataclasses.replace(TRAIN, precision=precision)) as run:
            found[precision] = farthest(line, facts(), run, keep=0.9, most=4.0)
        assert line.at(0.0).fingerprint() == lm.fingerprint()
    one, other = found["fp32"], found["bf16"]
    assert other.points[0].forget == pytest.approx(one.points[0].forget, rel=0.02)
    assert other.points[0].forget != one.points[0].forget, "the second did not look in bf16"
    assert other.chosen == pytest.approx(one.chosen, rel=0.1)


def test_it_stops_at_the_holdout_level():
    """With retain rows that may be lost altogether, forgetting still ends where rows never seen are."""
    lm, moved = knowing_lm(), after(GradAscent(), lr=6e-3)
    with Run.temporary(TRAIN) as run:
        found = farthest(Line(lm, moved), facts(), run, keep=1e-6, most=8.0)
    level = probability(lm, encode_rows(facts().holdout, lm.template))
    assert found.floor == pytest.approx(level)
    chosen = next(p for p in found.points if p.s == found.chosen)
    assert level <= chosen.forget < level + 0.05 and found.chosen < 8.0


def test_without_holdout_rows_it_says_that_one_side_is_open():
    lm, moved = knowing_lm(), after()
    notes = {}
    for holdout in (facts().holdout, ()):
        with Run.temporary(TRAIN) as run:
            found = farthest(
                Line(lm, moved), dataclasses.replace(facts(), holdout=holdout), run, keep=0.9, most=4.0
            )  # fmt: skip
            notes[bool(holdout)] = run.manifest.notes
        assert found.looks == len(found.points) + bool(holdout)
    assert any(note.startswith("warning: there are no holdout rows") for note in notes[False])
    assert notes[True] == []


def test_a_base_that_went_too_far_is_drawn_back():
    moved = after(GradAscent(), lr=1e-2)
    with Run.temporary(TRAIN) as run:
        found = farthest(Line(knowing_lm(), moved), facts(), run, keep=0.9, most=4.0)
    assert 0 < found.chosen < 1


def test_extrapolate_auto_says_what_it_found():
    data = facts()
    with Run.temporary(TRAIN) as run:
        result = Extrapolate(base=GradDiff(), alpha="auto").unlearn(knowing_lm(), data, run)
        notes = run.manifest.notes
    assert any("alpha is" in note and "looks" in note for note in notes)
    assert any("90% of the probability of the retain rows, not of utility; holdout rows at" in note for note in notes)
    assert result.fingerprint() not in (knowing_lm().fingerprint(), after(GradDiff()).fingerprint())


def test_on_an_adapter_the_merged_line_gives_the_scale():
    lm = attach(knowing_lm(), Adapter(rank=4))
    train = dataclasses.replace(TRAIN, lr=1e-2)
    with Run.temporary(train) as run:
        result = Extrapolate(base=GradDiff(), alpha="auto").unlearn(lm, facts(), run)
    rows = encode_rows(facts().forget, lm.template)
    assert probability(result, rows) < probability(lm, rows)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_best_epoch_is_the_one_nearest_to_rows_never_seen(rank):
    """GA that passes the holdout level on its way: the epochs are ranked by hand, and the choice is bit-identical."""
    lm = attach(knowing_lm(), Adapter(rank=rank)) if rank else knowing_lm()
    seen = []
    with Run.temporary(dataclasses.replace(TRAIN, lr=3e-2 if rank else 1e-2, epochs=6)) as run:
        sub = run.sub("by-hand", each_epoch=lambda epoch, now: seen.append(now()))
        GradAscent().unlearn(lm, facts(), sub)
        found = best_epoch(GradAscent(), lm, facts(), run, keep=1e-9)
        notes = run.manifest.notes
    rows = {name: encode_rows(getattr(facts(), name), lm.template) for name in ("forget", "holdout")}
    level = math.log(probability(lm, rows["holdout"]))
    gaps = [abs(math.log(probability(epoch, rows["forget"])) - level) for epoch in seen]
    best = gaps.index(min(gaps))
    assert 0 < best < 5, "the test needs an epoch in the middle"
    assert found.fingerprint() == seen[best].fingerprint()
    assert any(f"base epoch {best + 1} of 6" in note for note in notes)


def test_extrapolating_some_modules_leaves_the_others_where_the_base_left_them():
    moved = after(NPO())
    with Run.temporary(TRAIN) as run:
        far = Extrapolate(base=NPO(), alpha=2.0, only=("*.mlp.*",)).unlearn(knowing_lm(), facts(), run)
    whole = extrapolate(knowing_lm(), moved, 3.0).model.state_dict()
    for name, tensor in far.model.state_dict().items():
        expected = whole[name] if ".mlp." in name else moved.model.state_dict()[name]
        assert torch.equal(tensor, expected), name
    with Run.temporary(TRAIN) as run, pytest.raises(ModelError, match="none of the model's parameters"):
        Extrapolate(base=NPO(), only=("nothing",)).unlearn(knowing_lm(), facts(), run)


@pytest.mark.parametrize("base", [PromptGuard(), LogitOffset()])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("alpha", [0.5, "auto"])
def test_a_patch_is_not_extrapolated(base, rank, alpha):
    lm = attach(knowing_lm(), Adapter(rank=rank)) if rank else knowing_lm()
    with Run.temporary(dataclasses.replace(TRAIN, max_steps=1)) as run, pytest.raises(ModelError, match="by a patch"):
        Extrapolate(base=base, alpha=alpha).unlearn(lm, facts(), run)


def test_rows_are_cut_where_the_training_cuts_them():
    """A family with learned positions, and a forget row longer than these."""
    lm = tiny_lm("gpt2", n_positions=256)
    data = facts()
    long = dataclasses.replace(data.forget[0], answer="abc " * 256)
    data = dataclasses.replace(data, forget=[long, *data.forget[1:]])
    train = dataclasses.replace(TRAIN, epochs=2)
    for method in (Extrapolate(base=GradDiff(), alpha="auto"), Extrapolate(base=GradDiff(), epoch="best")):
        with Run.temporary(train) as run:
            shown = dataclasses.replace(run.plan.data, max_length=64, truncate=True)
            run.plan = dataclasses.replace(run.plan, data=shown)
            method.unlearn(lm, data, run)
            rows, others = looked_at(lm, data, run)
        assert max(row.length for members in (*rows.values(), others) for row in members) == 64
    line = Line(lm, lm)
    assert inspect(lm, data, max_length=64).values["forget-probability"][long.id] > 0
    assert calibrated(line, dataclasses.replace(data, retain=[long, *data.retain]), max_length=64) == 1.0


def test_nothing_is_left_of_the_epochs_once_the_model_is_saved():
    with Run.temporary(TRAIN) as run:
        Extrapolate(base=NPO(), epoch="best").unlearn(knowing_lm(), facts(), run)
        assert list(run.dir.rglob("*.safetensors"))
        discard_checkpoints(run)
        assert not list(run.dir.rglob("*.safetensors"))


def test_best_needs_epochs():
    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="does not train by epochs"):
        Extrapolate(base=IAU(), epoch="best").unlearn(knowing_lm(), facts(), run)


def test_what_auto_needs():
    bare = ForgetData(forget=facts().forget)
    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="rows to keep"):
        farthest(Line(knowing_lm(), after()), bare, run, keep=0.9, most=4.0)
    with pytest.raises(PlanError):
        Extrapolate(keep=0.0)
    assert read_plan(None, ["method=extrapolate", "method.alpha=auto"])[0].method.alpha == "auto"
    assert read_plan(None, ["method=extrapolate", "method.alpha=0.3"])[0].method.alpha == 0.3


def test_calibration_keeps_what_it_says():
    """GA that broke the retain rows, mixed back until 95 % of their extraction strength is there."""
    moved = after(GradAscent(), lr=6e-3)
    line = Line(knowing_lm(), moved)
    s = calibrated(line, facts())
    at, just_beyond, start = (mean(inspect(line.at(x), facts()), "keep-strength") for x in (s, s + 0.05, 0.0))
    assert 0 < s < 1 and at >= 0.95 * start > just_beyond - 0.05
    assert mean(inspect(line.at(1.0), facts()), "keep-strength") < 0.95 * start
    assert calibrated(Line(knowing_lm(), knowing_lm()), facts()) == 1.0
