"""Steps, costs and tests of the id-ood experiment, on walks made up by hand."""

import math

import pytest
from scipy.stats import nct

from unsay.report.id_ood import lead, parts, verdict
from unsay.report.id_ood_numbers import (
    ID,
    balance,
    compared,
    comparisons,
    decay,
    enough,
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
        {"step": s, "exposure": e, "test": 2.0 + c, "relex": e - 2, "genex": e - 3, "forget": 2.0, **GIVEN, **more}
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


def test_halfway_is_the_same_step_for_all_walks():
    costs = [0, 1, 4, 9, 16, 25, 36]
    assert halfway(walk([5] * 7, costs), 6) == 9 == halfway(walk([5] * 4, costs[:4]), 6)
    assert math.isnan(halfway(walk([5] * 3, costs[:3]), 6))


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
            kind = ID if name.startswith(ID) else name
            rows[name] = {"kind": kind, "unknown": odd, "memorisation": 1.0, "difficulty": 2.0, "proxy": 1.0}
            sets[name] = {"ids": [name], "points": points, "cosine": 0.0}
        pairs = {name: [[f"{ID} for {name}", name]] for name in steps if not name.startswith(ID)}
        level = {"mean": 1.0, "sd": 1.0}
        result.append({"seed": seed, "sets": sets, "rows": rows, "level": level, "pairs": pairs})
    kinds = [name for name in steps if not name.startswith(ID)]
    settings = {"kinds": kinds, "rows": 1, "match": "share", "halves": 4}
    return {"seeds": result, "about": {"model": "m", "settings": settings, "train": {"lr": 1e-3, "epochs": 20}}}


def test_hypotheses_by_seed():
    one = {f"{ID} for secret": 2.0, "secret": 7.0}
    made = found(one)
    test = compared(made, "steps")
    assert test.difference.value == pytest.approx(5.25) and test.difference.n == 6
    assert test.difference.p == pytest.approx(2 / 64)
    assert test.effect == pytest.approx(5.25 / (0.1 * math.sqrt(3.5)))
    assert math.isnan(compared(found(one, seeds=1), "steps").effect)


def test_the_interval_of_the_effect_size():
    """√n·d_z is a noncentral t: at either end it is as far out as in 2.5 of 100 draws."""
    test = compared(found({f"{ID} for secret": 2.0, "secret": 3.0}, jitter=0.6), "steps")
    t = test.effect * math.sqrt(6)
    low, high = (nct.cdf(t, 5, end * math.sqrt(6)) for end in test.effect_ci)
    assert (low, high) == (pytest.approx(0.975, abs=1e-5), pytest.approx(0.025, abs=1e-5))
    assert test.effect_ci[0] < test.effect < test.effect_ci[1]
    assert compared(found({f"{ID} for secret": 2.0, "secret": 3.0}, jitter=0), "steps").effect_ci is None


def said(made):
    """The two verdicts."""
    every = comparisons(made)
    return [verdict({k: v for k, v in every[name].items() if k}, n) for n, name in ((1, "steps"), (2, "cost"))]


def test_verdicts_are_of_the_adjusted_p_values():
    """With one kind seven seeds are needed, with two kinds eight; six reach p = .031 in each test by itself."""
    one = {f"{ID} for secret": 2.0, "secret": 7.0}
    two = one | {f"{ID} for foreign": 2.0, "foreign": 4.0}
    first, second = said(found(one, seeds=7))
    assert "more steps: supported. Differences in steps: secret 5.3" in first and "Holm 0.031, d_z = " in first
    # costs follow steps here, and the second hypothesis says that they are less
    assert "less performance: contradicted" in second
    assert enough(2) == 7 and enough(4) == 8
    for made, seeds in ((one, 6), (two, 7)):
        assert all("undecided" in each for each in said(found(made, seeds=seeds)))
    assert "supported" in said(found(two, seeds=8))[0]
    mixed = said(found(one | {f"{ID} for foreign": 3.0, "foreign": 3.0}, seeds=8, jitter=0))[0]
    assert "more steps: secret supported; foreign undecided." in mixed


def test_other_p_values_are_marked():
    made = found({f"{ID} for secret": 2.0, "secret": 7.0}, seeds=7)
    words = [word for part in parts(made, comparisons(made)) for word in part.words if "p = " in word]
    assert len(words) == 7 and all(word.count("exploratory") == word.count("p = ") for word in words)
    assert not any("exploratory" in each for each in said(made))
    few = found({f"{ID} for secret": 2.0, "secret": 7.0})
    assert any("Fewer than 7 seeds (here 6)" in line for line in lead(few, comparisons(few)))
    assert not any("Fewer" in line for line in lead(made, comparisons(made)))


def cut(made, name, at=1):
    """The walks of one set break after a point."""
    for one in made["seeds"]:
        one["sets"][name]["points"] = walk([5, 4.9], [0, 0.1 + 0.01 * one["seed"]], steps=[0, at])
    return made


def test_short_walks_in_distribution_decide_nothing():
    """They break at once: that out-of-distribution walks go on for longer says nothing."""
    made = cut(found({f"{ID} for secret": 2.0, "secret": 7.0}, seeds=8), f"{ID} for secret")
    first, second = said(made)
    assert "more steps: undecided (censored)." in first and "less performance: undecided (censored)." in second
    assert ", censored)" in first
    lines = lead(made, comparisons(made))
    for level in ("exposure is at chance", "relative exposure is 0", "generalised exposure is 0"):
        assert any(
            f"8 of 8 walks in distribution and 0 of 8 out of distribution end before {level}" in x for x in lines
        )


def test_short_walks_out_of_distribution_cannot_make_a_difference_larger():
    made = cut(found({f"{ID} for secret": 2.0, "secret": 7.0}, seeds=8), "secret", at=9)
    first, second = said(made)
    assert "more steps: supported" in first
    assert "less performance: undecided (censored)" in second  # their costs may yet rise above the others'


def test_walks_of_cells_are_not_counted_as_short():
    made = found({f"{ID} for secret": 2.0, "secret": 7.0}, seeds=8)
    never = walk([5, 4.9], [0, 0.1], rows={"a": 5})
    for one in made["seeds"]:
        one["sets"]["low memorisation, easy"] = one["sets"]["secret"] | {"points": never}
    assert not any("end before exposure" in line for line in lead(made, comparisons(made)))
    (table,) = [part.tables[0] for part in parts(made, comparisons(made)) if part.title.startswith("Memorisation")]
    assert table.rows[0][-1] == "0 of 8" and table.rows[0][3] == "–"


def test_the_median_row_is_a_mean_over_seeds():
    made = found({f"{ID} for secret": 2.0, "secret": 7.0}, seeds=2)
    for one, steps in zip(made["seeds"], (10, 20), strict=True):
        points = walk([5, 0], [0, 1], steps=[0, steps])
        for point, bits in zip(points, (5, 0), strict=True):
            point["rows"] = {"a": bits}
        one["sets"]["low memorisation, easy"] = one["sets"]["secret"] | {"points": points}
    (table,) = [part.tables[0] for part in parts(made, comparisons(made)) if part.title.startswith("Memorisation")]
    assert table.rows[0][3].startswith("15.0")


def test_pairs_that_do_not_match_are_named():
    """As estimated both have half of their loss memorised; the walked model has lost 3 of 5 nats against 1 of 3."""
    made = found({f"{ID} for secret": 2.0, "secret": 7.0})
    for one in made["seeds"]:
        for name, nats, level in ((f"{ID} for secret", 1.0, 3.0), ("secret", 3.0, 5.0)):
            one["sets"][name]["points"][0] |= {"relex": nats, "forget": level - nats}
    lines = dict((what, sides) for what, *sides in balance(made["seeds"][0], "secret"))
    assert lines["share memorised"] == [0.5, 0.5]
    assert lines["share memorised, in the walked model"] == [pytest.approx(1 / 3), pytest.approx(3 / 5)]
    assert lines["memorised, nats per token, in the walked model"] == [1, 3]

    def warned():
        (part,) = [part for part in parts(made, comparisons(made)) if part.title.startswith("How well")]
        return [word for word in part.words if "caliper" in word]

    assert len(warned()) == 1 and "secret: pairs differ by 0.267" in warned()[0]
    assert "in the walked model" in warned()[0]
    for one in made["seeds"]:
        one["sets"]["secret"]["points"][0] |= {"relex": 1.7, "forget": 3.4}
        one["rows"]["secret"]["memorisation"] = 1.2
    assert len(warned()) == 1 and "differ by 0.100" in warned()[0] and "walked" not in warned()[0]
    made["about"]["settings"]["match"] = "gain"
    assert len(warned()) == 2 and "memorised, nats per token, in the walked model" in warned()[1]


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
