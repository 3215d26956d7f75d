"""The self-test of the statistics: it passes on the shipped ones, and fails on broken ones."""

import pytest

from unsay import stats
from unsay.report import selftest as page
from unsay.selftest import statistics as own

CHECKS = {check.name: check for check in own.checks()}


def test_checks_have_names_of_their_own_and_cover_what_is_promised():
    assert len(CHECKS) == len(own.checks())
    assert {check.kind for check in CHECKS.values()} == {"type I", "coverage", "contrast"}
    assert [c.wanted for c in CHECKS.values() if c.name.startswith("sign flip, 8")] == [(0.03, 0.07)]


@pytest.mark.parametrize("name", ["sign flip, 12 clusters", "mean, 10 clusters", "closer to retrained, 20 clusters"])
def test_the_shipped_statistics_pass(name):
    (rate,) = own.run_checks(600, only=[CHECKS[name]])
    assert rate.passed
    assert rate.ci == stats.clopper_pearson(round(600 * rate.rate), 600)
    assert rate.ci[0] < rate.rate < rate.ci[1]


def test_without_clusters_the_rates_are_off():
    rates = own.run_checks(200, only=[c for c in CHECKS.values() if c.kind == "contrast"])
    assert [rate.passed for rate in rates] == [None, None]
    coverage, error = rates
    assert coverage.ci[1] < 0.9
    assert error.ci[0] > 0.07


def test_a_broken_test_is_found(monkeypatch):
    right = stats.sign_flip
    monkeypatch.setattr(stats, "sign_flip", lambda d, entities, *more: right(d, {}, *more))
    (rate,) = own.run_checks(200, only=[CHECKS["sign flip, 20 clusters"]])
    assert rate.passed is False
    found = own.document([rate], [])
    assert page.failed(found) == ["sign flip, 20 clusters"]
    assert "| **no** |" in page.statistics(found)


def test_the_paired_test_finds_more_than_kolmogorov_smirnov():
    shifted, level = (
        next(s for s in own.SETTINGS if (s.n, s.rho, s.shift) == key) for key in ((40, 0.8, 0.3), (40, 0.8, 0))
    )
    (power,) = own.run_powers(100, only=[shifted])
    assert power.passed
    assert power.ks.rate < 0.2 < 0.7 < power.paired.rate
    (none,) = own.run_powers(400, only=[level])
    assert none.passed
    assert none.ks.rate < 0.02
    found = own.document([], [power, none])
    assert page.failed(found) == []
    assert page.statistics(found).count("| yes |") == 2


def test_the_same_seed_draws_the_same_data():
    check = CHECKS["mean, 8 clusters"]
    assert own.run_checks(50, seed=1, only=[check]) == own.run_checks(50, seed=1, only=[check])
    names = set()

    def simulate(rng, tag):
        names.add((tag, float(rng.normal())))
        return False

    own.run_checks(5, only=[own.Check("x", "type I", (0, 1), simulate)])
    assert len({tag for tag, _ in names}) == len({x for _, x in names}) == 5
