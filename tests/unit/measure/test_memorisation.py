"""Memorisation and difficulty against sums by hand."""

import math

import numpy as np
import pytest

from unsay.errors import DataError
from unsay.measure.memorisation import CELLS, Memorisation, cells, counterfactual, half_samples, proxy


def test_every_row_is_taught_to_half_of_the_models():
    taught = half_samples(7, 6, seed=3)
    assert taught.shape == (6, 7)
    assert (taught.sum(axis=0) == 3).all() and set(taught.sum(axis=1)) == {3, 4}
    assert (taught == half_samples(7, 6, seed=3)).all() and (taught != half_samples(7, 6, seed=4)).any()
    for models in (1, 3):
        with pytest.raises(DataError, match="pairs"):
            half_samples(4, models, seed=0)


def test_counterfactual_by_hand():
    log_p = [{"a": -1.0, "b": -5.0}, {"a": -2.0, "b": -5.0}, {"a": -4.0, "b": -5.0}, {"a": -5.0, "b": -5.0}]
    found = counterfactual(log_p, [{"a"}, {"a"}, {"b"}, set()])
    assert found["a"].value == pytest.approx(3) and found["a"].difficulty == pytest.approx(4.5)
    assert found["a"].error == pytest.approx(math.sqrt(0.5 / 2 + 0.5 / 2))
    assert found["b"].value == 0 and math.isnan(found["b"].error)
    assert set(counterfactual(log_p, [{"a"}] * 4)) == set()  # nobody was without it
    with pytest.raises(DataError, match="not finite"):
        counterfactual([{"a": -math.inf}, {"a": -1.0}], [{"a"}, set()])


def test_counterfactual_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    taught = half_samples(30, 40, seed=1)
    truth = rng.gamma(2.0, size=30)
    values = -5.0 + taught * truth + rng.normal(0, 0.1, taught.shape)
    log_p = [{f"r{i:02}": x for i, x in enumerate(row)} for row in values]
    found = counterfactual(log_p, [{f"r{i:02}" for i in np.flatnonzero(row)} for row in taught])
    assert [found[i].value for i in sorted(found)] == pytest.approx(truth, abs=0.15)


def test_the_proxy_has_two_models():
    found = proxy({"a": -0.5, "b": -1.0}, {"a": -3.0, "c": -1.0})
    assert list(found) == ["a"] and (found["a"].value, found["a"].difficulty) == (2.5, 3.0)


def test_the_form_of_a_row_is_not_memory_of_it():
    """Rows of a template lose 4 nats by it, each 1 more by itself; other rows have no template to learn."""
    ignorant = {"secret": -6.0, "like": -5.5, "too": -6.5, "plain": -2.0, "other": -2.2}
    knowing = {"secret": -1.0, "like": -1.5, "too": -2.5, "plain": -1.0, "other": -2.2}
    found = proxy(knowing, ignorant, {"secret": ["like", "too"], "plain": ["other"]})
    assert list(found) == ["plain", "secret"]
    assert {i: (score.value, score.difficulty) for i, score in found.items()} == {"plain": (1, 2), "secret": (1, 2)}
    assert proxy(knowing, ignorant)["secret"].value == 5


def test_cells():
    scores = {str(i): Memorisation(*x, 0.0) for i, x in enumerate([(0, 0), (0, 9), (9, 0), (9, 9)])}
    assert list(cells(scores).values()) == list(CELLS)
    assert cells({}) == {}
