"""The longest step within a bound, on functions whose answer is known, and on a model."""

import math

import pytest

from unsay.config.plan import Train
from unsay.errors import MethodError
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, mean_nll
from unsay.training.full_gradient import encode_roles, full_gradient, place, working_copy
from unsay.training.full_gradient import mean_nll as nll_of
from unsay.training.line_search import longest_step, step_within


@pytest.mark.parametrize("first", [1e-4, 0.3, 2.0, 500.0])
def test_a_parabola(first):
    asked = []

    def loss(x):
        asked.append(x)
        return 1 + x * x

    found = longest_step(loss, 5.0, first)  # 2 exactly
    assert 1.9 < found <= 2.0 and found in asked
    assert len(asked) <= 24


def test_the_most_is_taken_when_nothing_objects():
    assert longest_step(lambda x: 0.0, 1.0, 0.1, most=0.7) == 0.7
    assert longest_step(lambda x: 0.0, 1.0, 0.7, most=0.7) == 0.7
    assert 0.9 < longest_step(lambda x: x, 1.0, 5.0, most=5.0) <= 1.0
    assert longest_step(lambda x: 0.0, 1.0, 1.0, doublings=3) == 8.0


def test_what_is_not_finite_is_out_of_bounds():
    assert 0.45 < longest_step(lambda x: math.nan if x > 0.5 else -1.0, 0.0, 10.0) <= 0.5
    assert 0.45 < longest_step(lambda x: math.inf if x > 0.5 else -1.0, math.inf, 1e-3) <= 0.5


def test_no_step_at_all():
    with pytest.raises(MethodError, match="however short"):
        longest_step(lambda x: 1.0, 0.5, 1.0)


def test_a_model_ends_within_the_bound_and_near_it():
    lm, data = knowing_lm(), facts()
    with Run.temporary(Train(micro_tokens=4096)) as run:
        rows = encode_roles(lm, {"forget": data.forget, "retain": data.retain}, run)
        with working_copy(lm, rows) as subject:
            up = full_gradient(subject, {"forget": rows["forget"]}, nll_of("forget"), run)
            retain = {"retain": rows["retain"]}
            found = step_within(subject, lm, up, retain, run, tolerance=0.5)
            before, after = mean_nll(lm, data.retain), mean_nll(subject, data.retain)
            assert after <= before + math.log(1.5) + 1e-4
            twin = lm.fork()
            place(twin, lm, up, 1.1 * found)
            assert mean_nll(twin, data.retain) > before + math.log(1.5), "a step a tenth longer breaks the bound"
            assert step_within(subject, lm, up, retain, run, tolerance=0.5, most=found / 3) == found / 3
            with pytest.raises(MethodError, match="zero"):
                step_within(subject, lm, {n: t * 0 for n, t in up.items()}, retain, run, tolerance=0.5)
