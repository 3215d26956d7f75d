"""Relearning: what the attacker is given, what is asked, and that the model under attack is left alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsay.attacks._attack import Attack
from unsay.attacks.relearn import Relearn
from unsay.data.example import Example, ForgetData
from unsay.errors import MethodError, PlanError
from unsay.runs.run import Run
from unsay.testing import facts, mean_nll, tiny_lm


def rows(sizes):
    return [
        Example(prompt=f"q{e}.{i}", answer=f"a{e}.{i}", meta={"entity": f"e{e}"})
        for e, n in enumerate(sizes)
        for i in range(n)
    ]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0.1, 0.9), st.integers(0, 9))
def test_split_is_a_partition_by_entity(sizes, share, seed):
    forget = rows(sizes)
    if len(forget) < 2:
        return
    told, asked = Relearn(share=share).split(forget, seed)
    assert {r.id for r in told} | {r.id for r in asked} == {r.id for r in forget}
    assert not {r.id for r in told} & {r.id for r in asked}
    assert Relearn(share=share).split(forget, seed) == (told, asked)
    if max(sizes) > 1:
        for e, n in enumerate(sizes):
            assert sum(r.entity == f"e{e}" for r in told) == (math.ceil(share * n) if n > 1 else 0)
    else:
        assert told and [r.id for r in asked] == [r.id for r in forget if r not in told]


def test_probes_learn_what_they_are_given_and_leave_the_model_alone():
    lm, data = tiny_lm(), facts()  # knows nothing yet: whatever is learned is the attack's doing
    attack = Relearn(steps=(1, 6), lr=3e-3, batch=4)
    told, asked = attack.split(data.forget, 0)
    before = lm.fingerprint()
    probes = list(attack.probes(lm, data, Run.temporary()))
    assert isinstance(attack, Attack)
    assert [(p.label, p.at) for p in probes] == [("step-0", 0), ("step-1", 1), ("step-6", 6)]
    assert lm.fingerprint() == before and probes[0].lm is lm
    assert len({p.lm.fingerprint() for p in probes}) == 3
    assert all(p.splits == {"forget": asked} for p in probes)
    assert mean_nll(probes[2].lm, told) < mean_nll(lm, told)


def test_one_row_cannot_be_split():
    with pytest.raises(MethodError, match="at least two forget rows"):
        list(Relearn().probes(tiny_lm(), ForgetData(forget=facts().forget[:1]), Run.temporary()))


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.0}, {"steps": ()}, {"steps": (0,)}])
def test_settings_are_checked(settings):
    with pytest.raises(PlanError):
        Relearn(**settings)
