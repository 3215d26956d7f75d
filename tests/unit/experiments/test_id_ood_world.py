"""The world of the id-ood experiment, and the model made from nothing for it."""

import numpy as np
import pytest
import torch

from unsay.errors import PlanError
from unsay.experiments._id_ood_walk import losses
from unsay.experiments._id_ood_world import ID, build, people
from unsay.models.lm import LM
from unsay.models.scratch import pieces, scratch_lm

SIZES = {"persons": 8, "count": 6, "references": 10, "repeats": (1, 3), "inside": (2,)}


@pytest.fixture(scope="module")
def lm():
    texts = [row.answer for rows in people(8, 0).values() for row in rows]
    return scratch_lm(texts, vocabulary=300, width=32, layers=1)


@pytest.fixture(scope="module")
def world(lm):
    return build(0, kinds=("secret", "random-tokens", "shuffled"), vocabulary=pieces(lm), **SIZES)


def test_a_role_for_every_row(world, lm):
    assert world == build(0, kinds=("secret", "random-tokens", "shuffled"), vocabulary=pieces(lm), **SIZES)
    assert world.retain != build(1, kinds=("secret",), **SIZES).retain
    assert list(world.planted) == [ID, "secret", "random-tokens", "shuffled"]
    taught = {row.answer for row in world.taught()}
    for part in world.planted.values():
        assert (len(part.rows), len(part.references)) == (6, 10)
        assert {row.answer for row in part.rows} <= taught and not {row.answer for row in part.references} & taught
    assert not {row.answer for row in world.test} & taught
    assert {row.answer for row in world.taught(())} == {row.answer for row in world.retain}
    one = world.planted[ID].rows[0]
    assert sum(row.answer == one.answer for row in world.taught({one.id})) == 2
    ids = [row.id for row in world.taught()]
    assert len(set(ids)) == len(ids) == 8 * 14 + 10 + 6 * 2 + 3 * 12  # ten candidates of persons too many are kept


def test_sentences_of_a_person_are_drawn_by_lot():
    rows = people(30, 0)
    assert all(len(of) == 20 and all(name in row.answer for row in of) for name, of in rows.items())
    homes = [next(r.answer.replace(name, "{}") for r in of if r.id.endswith(".2")) for name, of in rows.items()]
    assert len(set(homes)) > 5


def test_too_few_persons():
    with pytest.raises(PlanError, match="persons=50"):
        build(0, kinds=("secret",), **SIZES | {"references": 100})


def test_a_model_from_nothing(lm, tmp_path):
    assert pieces(lm) and all(piece.isprintable() for piece in pieces(lm))
    texts = [row.answer for rows in people(8, 0).values() for row in rows]
    state = torch.random.get_rng_state()
    again = scratch_lm(list(reversed(texts)), vocabulary=300, width=32, layers=1)
    assert again.fingerprint() == lm.fingerprint() and torch.equal(state, torch.random.get_rng_state())
    assert scratch_lm(texts, vocabulary=300, width=32, layers=1, seed=1).fingerprint() != lm.fingerprint()
    lm.save(tmp_path / "model")
    from unsay.config.plan import ModelSpec

    assert LM.load(ModelSpec(path=str(tmp_path / "model"), template="plain")).fingerprint() == lm.fingerprint()
    with pytest.raises(PlanError, match="width 33"):
        scratch_lm(texts, width=33)


def test_losses_are_those_of_one_row_at_a_time(lm, world):
    rows = [*world.test[:3], *world.planted["secret"].rows[:2]]
    found = losses(lm, rows, "fp32")
    for row in rows:
        ids = torch.tensor([lm.template.encode(row.prompt, row.answer).input_ids])
        with torch.no_grad():
            logp = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        assert found[row.id].nll == pytest.approx(-float(logp.mean()), abs=1e-5)
        assert found[row.id].tokens == ids.shape[1] - 1
    assert np.isfinite([loss.nll for loss in found.values()]).all()
