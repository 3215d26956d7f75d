"""Relearning: what the attacker is given, what is asked, and that the model under attack is left alone."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsay.attacks._attack import Attack
from unsay.attacks.relearn import Relearn
from unsay.config.plan import Train
from unsay.data.example import Example, ForgetData
from unsay.errors import MethodError, PlanError
from unsay.methods.fine_tune import FineTune
from unsay.runs.run import Run
from unsay.testing import facts, mean_nll, tiny_lm


@contextlib.contextmanager
def trained_on():
    """A list that fills with the rows of every training."""
    seen, real = [], FineTune.unlearn

    def unlearn(self, lm, data, run):
        seen.append([*data.forget, *data.retain, *data.utility])
        return real(self, lm, data, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTune, "unlearn", unlearn)
        yield seen


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
            assert sum(r.entity == f"e{e}" for r in told) == min(math.ceil(share * n), n - 1)
    else:
        assert told and [r.id for r in asked] == [r.id for r in forget if r not in told]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.floats(0.1, 0.9), st.integers(0, 9))
def test_rows_of_one_fact_stay_together(sizes, share, seed):
    """Otherwise an answer that is asked was taught in other words."""
    forget = [
        Example(f"q{fact}.{i}", f"{' ' * i}Fact {fact}{'.' * i}", meta={"entity": "e"})
        for fact, n in enumerate(sizes)
        for i in range(n)
    ]
    told, asked = Relearn(share=share).split(forget, seed)
    facts_of = [{row.answer.strip(" .") for row in side} for side in (told, asked)]
    assert facts_of[0] and facts_of[1] and not facts_of[0] & facts_of[1]


def test_one_fact_is_what_the_row_names_and_its_own_entity_states():
    town = [Example(f"q{i}", f"{text} Oslo", meta={"entity": "Ada", "spans": "Oslo"}) for i, text in enumerate("abc")]
    same = [Example(f"q{name}", "Oslo", meta={"entity": name}) for name in ("Bo", "Cleo")]
    told, asked = Relearn().split(town, 0)
    assert not told and len(asked) == 3
    told, asked = Relearn().split(same, 0)
    assert len(told) == len(asked) == 1


def test_probes_learn_what_they_are_given_and_leave_the_model_alone():
    lm, data = tiny_lm(), facts()  # knows nothing yet: whatever is learned is the attack's doing
    attack = Relearn(steps=(1, 6), lr=3e-3, batch=4)
    told, asked = attack.split(data.forget, 0)
    before = lm.fingerprint()
    with trained_on() as seen:
        probes = list(attack.probes(lm, data, Run.temporary()))
    assert seen == [told, told]  # and nothing of what is asked
    assert isinstance(attack, Attack)
    assert [(p.label, p.at) for p in probes] == [("step-0", 0), ("step-1", 1), ("step-6", 6)]
    assert lm.fingerprint() == before and probes[0].lm is lm
    assert len({p.lm.fingerprint() for p in probes}) == 3
    assert all(p.splits == {"forget": asked} for p in probes)
    assert mean_nll(probes[2].lm, told) < mean_nll(lm, told)


@pytest.mark.parametrize("by", ["rows", "entities"])
def test_answers_that_are_still_there_come_back_with_others_and_a_stranger_learns_none(secrets, by):
    attack = Relearn(steps=(16,), lr=1e-3, by=by)
    _, asked = attack.split(secrets.data.forget, 0)
    levels = {}
    for name in ("hides", "stranger"):
        probes = attack.probes(getattr(secrets, name), secrets.data, Run.temporary(Train(precision="fp32")))
        levels[name] = [mean_nll(probe.lm, asked) for probe in probes]
    after, back = levels["hides"]
    assert after > 0.8 and back < 0.7 * after
    assert min(levels["stranger"]) > 4.5  # a fair guess among 26 letters is 3.3


def test_one_row_cannot_be_split():
    with pytest.raises(MethodError, match="at least two forget rows"):
        list(Relearn().probes(tiny_lm(), ForgetData(forget=facts().forget[:1]), Run.temporary()))


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.0}, {"steps": ()}, {"steps": (0,)}])
def test_settings_are_checked(settings):
    with pytest.raises(PlanError):
        Relearn(**settings)
