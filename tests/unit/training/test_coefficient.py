"""The line between two models, and the coefficient found on it."""

import dataclasses

import pytest

from unsay.config.decode import read_plan
from unsay.config.plan import Adapter, Train
from unsay.data.example import ForgetData
from unsay.errors import MethodError, PlanError
from unsay.methods.extrapolate import Extrapolate
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.npo import NPO
from unsay.models.adapters import attach
from unsay.models.line import Line
from unsay.models.weights import extrapolate
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, tiny_lm
from unsay.training.batch import encode_rows
from unsay.training.coefficient import farthest, probability, walk

TRAIN = Train(lr=1e-3, batch=8, epochs=4, micro_tokens=4096, precision="fp32", checkpoint_every=0)


def after(method=None, **train):
    with Run.temporary(dataclasses.replace(TRAIN, **train)) as run:
        return (method or GradDiff()).unlearn(knowing_lm(), facts(), run)


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
    grid = walk(Line(lm, moved), facts(), [4 * i / 150 for i in range(151)], lambda point: None)
    allowed = [p for p in grid if p.keep >= 0.9 * grid[0].keep and p.forget >= found.floor]
    best = min(p.forget for p in allowed)
    chosen = next(p for p in found.points if p.s == found.chosen)
    assert chosen.keep >= 0.9 * found.points[0].keep and chosen.forget >= found.floor
    assert chosen.forget <= best + 0.02 * grid[0].forget
    assert len(found.points) <= 15


def test_it_stops_at_the_holdout_level():
    """With retain rows that may be lost altogether, forgetting still ends where rows never seen are."""
    lm, moved = knowing_lm(), after(GradAscent(), lr=6e-3)
    with Run.temporary(TRAIN) as run:
        found = farthest(Line(lm, moved), facts(), run, keep=1e-6, most=8.0)
    level = probability(lm, encode_rows(facts().holdout, lm.template))
    assert found.floor == pytest.approx(level)
    chosen = next(p for p in found.points if p.s == found.chosen)
    assert level <= chosen.forget < level + 0.05 and found.chosen < 8.0


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
    assert result.fingerprint() not in (knowing_lm().fingerprint(), after(GradDiff()).fingerprint())


def test_on_an_adapter_the_merged_line_gives_the_scale():
    lm = attach(knowing_lm(), Adapter(rank=4))
    train = dataclasses.replace(TRAIN, lr=1e-2)
    with Run.temporary(train) as run:
        result = Extrapolate(base=GradDiff(), alpha="auto").unlearn(lm, facts(), run)
    rows = encode_rows(facts().forget, lm.template)
    assert probability(result, rows) < probability(lm, rows)


def test_what_auto_needs():
    bare = ForgetData(forget=facts().forget)
    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="rows to keep"):
        farthest(Line(knowing_lm(), after()), bare, run, keep=0.9, most=4.0)
    with pytest.raises(PlanError):
        Extrapolate(keep=0.0)
    assert read_plan(None, ["method=extrapolate", "method.alpha=auto"])[0].method.alpha == "auto"
    assert read_plan(None, ["method=extrapolate", "method.alpha=0.3"])[0].method.alpha == 0.3
