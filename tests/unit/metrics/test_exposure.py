"""Exposure against the counts it is made of, and its mean for rows that are like the holdout."""

import math

import numpy as np
import pytest

from unsay.metrics.exposure import Exposure, bits, chance
from unsay.metrics.needs import TokenStats

OURS, NULL, TWIN = TokenStats("forget"), TokenStats("holdout"), TokenStats("forget", model="retrained")


def test_by_hand(with_loss, rows, measured):
    """Holdout losses 1, 2, 3. Loss .5 ranks 1 of 4: 2 bits; 2.5 ranks 3: log2(4/3); 3 ties with one: 4 of 4, 0 bits."""
    splits = {"forget": rows("forget", 3), "holdout": rows("holdout", 3)}
    tables = {OURS: [with_loss(x) for x in (0.5, 2.5, 3.0)], NULL: [with_loss(x) for x in (1, 2, 3)]}
    found = Exposure().score(measured(splits, tables | {TWIN: [with_loss(x) for x in (2.5, 2.5, 2.0)]}))
    assert list(found.per_example.values()) == pytest.approx([2, math.log2(4 / 3), 0])
    assert found.value == pytest.approx((2 + math.log2(4 / 3)) / 3)
    assert found.extra["chance"] == pytest.approx(np.mean([math.log2(4 / k) for k in (1, 2, 3, 4)]))
    assert found.extra["two_sided"] == pytest.approx(abs(found.value - found.extra["chance"]))
    assert found.extra["relex"] == pytest.approx(0.0)
    assert found.extra["relex_lme"] == pytest.approx(-2 - math.log(np.mean(np.exp([-1, -2, -3]))), rel=1e-6)
    assert found.extra["genex"] == pytest.approx((2 + 0 - 1) / 3)
    assert found.extra["genex_max"] == pytest.approx(2)
    alone = Exposure().score(measured(splits, tables, {TWIN: "none"}))
    assert alone.scored and "genex" not in alone.extra


def test_sums_and_means_differ_by_length(answer, rows, measured):
    """One token of loss 2 against three of loss 1: per token the longer one is likelier, in sum the shorter."""
    splits = {"forget": rows("forget", 1), "holdout": rows("holdout", 1)}
    tables = {OURS: [(answer([-2.0]),)], NULL: [(answer([-1.0] * 3),)]}
    have = measured(splits, tables, {TWIN: "none"})
    assert Exposure().score(have).value == 0.0
    assert Exposure(per_token=False).score(have).value == 1.0


def test_rows_like_the_holdout_have_one_point_four_bits():
    rng = np.random.default_rng(0)
    found = [np.mean(list(bits({"x": rng.normal()}, rng.normal(size=200)).values())) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(chance(200), abs=4 * np.std(found) / math.sqrt(4000))
    assert chance(200) == pytest.approx(1 / math.log(2), abs=0.05)
