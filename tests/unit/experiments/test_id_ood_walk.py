"""A walk of gradient ascent: which steps are measured, and that a stopped one comes to the same."""

import os
import signal

import pytest

from unsay.config.plan import Plan, Train
from unsay.errors import Interrupted
from unsay.experiments import _id_ood_walk as walks
from unsay.experiments._id_ood_world import ID, build, people
from unsay.models.scratch import scratch_lm
from unsay.runs.run import Run

TRAIN = Train(lr=1e-3, epochs=13, batch=4, schedule="constant", precision="fp32", checkpoint_every=2)


@pytest.fixture(scope="module")
def given():
    sizes = {"persons": 4, "count": 4, "references": 8, "repeats": (1,), "inside": (1,)}
    world = build(0, kinds=("secret",), **sizes)
    texts = [row.answer for rows in people(4, 0).values() for row in rows]
    lm = scratch_lm(texts, vocabulary=300, width=32, layers=1)
    return lm, world, walks.losses(lm, world.candidates(), "fp32")


def walked(folder, given):
    lm, world, retrained = given
    with Run.start(Plan(train=TRAIN, out=str(folder))) as run:
        return walks.walk(lm, world.planted[ID].rows, world, retrained, run)


def test_a_walk_that_was_stopped_comes_to_the_same(given, tmp_path, monkeypatch):
    whole = walked(tmp_path / "whole", given)
    assert [point["step"] for point in whole] == [*range(11), 12, 13]  # the last one whatever its number
    measure, stopped = walks.point, []

    def stop(lm, step, *rest):
        if step == 3 and not stopped:
            stopped.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(lm, step, *rest)

    monkeypatch.setattr(walks, "point", stop)
    with pytest.raises(Interrupted):
        walked(tmp_path / "stopped", given)
    assert list((tmp_path / "stopped").rglob("checkpoints/*"))
    assert walked(tmp_path / "stopped", given) == whole
    # one that was finished and left its checkpoint
    assert walked(tmp_path / "stopped", given) == whole
