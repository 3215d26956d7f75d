"""Steps, costs and tests of the id-ood experiment, on walks made up by hand."""

import math

import pytest

from unsay.report.id_ood import verdict
from unsay.report.id_ood_numbers import (
    ID,
    compared,
    comparisons,
    decay,
    halfway,
    median_steps,
    oddness,
    reached,
    slopes,
    trade_off,
)
from unsay.report.ranks import correlation, permutation_p

GIVEN = {"chance": 1.0, "rows": {}}


def walk(exposures, costs, steps=None, **more):
    steps = steps or range(len(exposures))
    return [
        {"step": s, "exposure": e, "test": 2.0 + c, "relex": e - 2, "genex": e - 3, **GIVEN, **more}
        for s, e, c in zip(steps, exposures, costs, strict=True)
    ]


def test_between_two_steps_by_a_straight_line():
    points = walk([5, 3, 0], [0, 0.5, 2.0], steps=[0, 10, 13])
    end = reached(points)
    assert (end.steps, end.cost, end.whole) == (pytest.approx(12), pytest.approx(0.5 + 1.5 * 2 / 3), True)
    assert reached(points, "relex").steps == pytest.approx(11) and reached(points, "genex").steps == 10
    never = reached(walk([5, 4], [0, 0.3]))
    assert (never.steps, never.cost, never.whole) == (1, pytest.approx(0.3), False)
    assert reached(walk([0.5, 0.2], [0, 9])).steps == 0


def test_trade_off_is_the_mean_cost_on_the_way():
    """Cost in proportion to the way: 0.1, 0.2, … 1.0."""
    assert trade_off(walk([5, 3, 1], [0, 0.5, 1.0])) == pytest.approx(0.55)
    assert trade_off(walk([5, 3], [0, 0.5])) == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.5 * 6) / 10)
    assert math.isnan(trade_off(walk([1, 0], [0, 1])))
    assert decay(walk([5] * 8, range(8))) == 1
    assert halfway(walk([5] * 7, [0, 1, 4, 9, 16, 25, 36])) == 9


def test_rows_reach_chance_one_by_one():
    rows = [{"a": 5, "b": 5, "c": 5}, {"a": 1, "b": 5, "c": 5}, {"a": 3, "b": 0.5, "c": 5}]
    points = [{"step": 2 * k, "chance": 1.0, "rows": of} for k, of in enumerate(rows)]
    assert median_steps(points) == (4, pytest.approx(2 / 3))


def found(steps, seeds=6, jitter=0.1):
    """Seeds in which the walks of each set reach chance at a step, which costs a tenth of it."""
    result = []
    for seed in range(seeds):
        sets, rows = {}, {}
        for name, step in steps.items():
            end = step + jitter * seed * (1 if name.startswith(ID) else 2)
            points = walk([3, 1], [0, end / 10], steps=[0, end])
            odd = 1.0 if name.startswith(ID) else 8.0
            rows[name] = {"unknown": odd, "memorisation": 1.0, "difficulty": 2.0}
            sets[name] = {"ids": [name], "points": points, "cosine": 0.0}
        result.append({"seed": seed, "sets": sets, "rows": rows, "level": {"mean": 1.0, "sd": 1.0}})
    kinds = [name for name in steps if not name.startswith(ID)]
    return {"seeds": result, "about": {"settings": {"kinds": kinds}}}


def test_hypotheses_by_seed():
    one = {f"{ID} for secret": 2.0, "secret": 7.0}
    made = found(one)
    test = compared(made, "steps")
    assert test.difference.value == pytest.approx(5.25) and test.difference.n == 6
    assert test.difference.p == pytest.approx(2 / 64)
    assert test.effect == pytest.approx(5.25 / (0.1 * math.sqrt(3.5)))
    assert "supported" in verdict(test, 1)
    # costs follow steps here, and the second hypothesis says that they are less
    assert "contradicted" in verdict(compared(made, "cost"), 2)
    assert "undecided" in verdict(compared(found(one, seeds=5), "steps"), 1)
    assert math.isnan(compared(found(one, seeds=1), "steps").effect)


def test_kinds_are_averaged_within_a_seed_and_adjusted_together():
    made = found({f"{ID} for secret": 2.0, "secret": 6.0, f"{ID} for foreign": 2.0, "foreign": 4.0}, jitter=0)
    every = comparisons(made)
    assert every["steps"][""].difference.value == pytest.approx(3)
    assert every["steps"]["secret"].difference.value == pytest.approx(4)
    assert every["steps"]["foreign"].holm == pytest.approx(4 * 2 / 64)
    assert math.isnan(every["steps"][""].holm)


def test_slopes_over_the_odd_scores():
    made = found({f"{ID} for secret": 2.0, "secret": 18.0}, jitter=0)
    one = made["seeds"][0]
    assert oddness(one, "secret") == 7 and oddness(one, f"{ID} for secret") == 0
    assert slopes(made)["steps"].value == pytest.approx(math.log(9) / math.log(8))


def test_rank_correlation_shares_ranks_of_equal_values():
    assert correlation([1, 2, 3, 4], [2, 4, 4, 9]) == pytest.approx(0.9486833)  # as scipy.stats.spearmanr
    assert correlation([1, 2, 3], [3, 2, 1]) == -1
    assert math.isnan(correlation([1, 2, 3], [5, 5, 5])) and math.isnan(correlation([1, 2], [1, 2]))
    assert permutation_p(range(12), range(12)) < 0.01
    assert permutation_p(range(12), [0, 1] * 6) > 0.3
