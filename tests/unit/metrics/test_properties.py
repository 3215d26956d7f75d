"""Bounds, monotonicity and order independence on random rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unsay import stats
from unsay.metrics._ngrams import distinct, repeated
from unsay.metrics.exact_memorization import share_exact
from unsay.metrics.extraction_strength import strength
from unsay.metrics.fluency import diversity
from unsay.metrics.min_k import lowest_mean
from unsay.metrics.probability import option_share
from unsay.metrics.rouge import recall
from unsay.metrics.truth_ratio import aggregated, log_ratio

LOSS = st.floats(0, 1000)
LOSSES = arrays(np.float64, st.integers(1, 6), elements=LOSS)
RANKS = arrays(np.int32, st.integers(1, 12), elements=st.integers(0, 3))
TEXT = st.text(alphabet="ab .!é\n", max_size=30)
SCORES = arrays(np.float64, st.integers(1, 12), elements=st.integers(-3, 3).map(float))


@given(LOSSES, LOSSES, st.sampled_from(["forget", "utility", "share"]))
def test_truth_ratio_is_in_bounds_and_falls_with_the_right_answers_loss(right, wrong, aggregate):
    value = aggregated(log_ratio(right, wrong), aggregate)
    assert 0 <= value <= 1
    if aggregate != "forget":
        assert aggregated(log_ratio(right + 1, wrong), aggregate) <= value
    assert aggregated(log_ratio(right[::-1], wrong[::-1]), aggregate) == pytest.approx(value, abs=1e-9)


@given(LOSSES)
def test_truth_ratio_of_the_same_losses_is_one(losses):
    assert aggregated(log_ratio(losses, losses), "forget") == 1.0
    assert aggregated(log_ratio(losses, losses), "utility") == 0.0


@given(LOSS, LOSSES)
def test_option_share_is_in_bounds_and_falls_with_loss(right, wrong):
    value = option_share(right, wrong)
    assert 0 <= value <= 1
    assert option_share(right + 1, wrong) <= value
    assert option_share(right, np.append(wrong, right)) <= value


@given(RANKS)
def test_memorisation_bounds(rank):
    """The all-correct suffix is part of the correct tokens; both readings of ES differ only at a wrong last token."""
    assert 0 <= strength(rank) <= share_exact(rank) <= 1
    compat = strength(rank, at_least_one=True)
    assert compat == (strength(rank) if rank[-1] == 0 else 1 / len(rank))
    better = rank.copy()
    better[-1] = 0
    assert strength(better) >= strength(rank)


@given(LOSSES, st.floats(0.01, 1), st.floats(0.01, 1))
def test_lowest_mean_grows_with_the_share(losses, k, more):
    low, high = sorted((k, more))
    assert lowest_mean(losses, low) <= lowest_mean(losses, high) + 1e-9
    assert lowest_mean(losses, 1.0) == pytest.approx(losses.mean())
    assert losses.min() - 1e-9 <= lowest_mean(losses, low)


@given(TEXT)
def test_text_measures_are_in_bounds(text):
    assert 0 <= diversity(text) <= 1
    assert 0 <= repeated(text, 4) <= 1
    assert repeated(f"{text} {text}", 2) >= repeated(text, 2)
    assert 0 <= distinct([text, text], 1) <= 0.5


@settings(max_examples=25)
@given(TEXT, TEXT)
def test_rouge_recall_bounds(answer, text):
    assert 0 <= recall(answer, text) <= 1
    assert recall(answer, f"{text} {answer}") in (0.0, 1.0)  # 0 only when the answer has no word


@given(SCORES, SCORES)
def test_area(members, others):
    """Pairs counted one by one; swapping sides mirrors; a monotone map changes nothing."""
    pairs = [(m > o) + (m == o) / 2 for m in members for o in others]
    assert stats.area(members, others) == pytest.approx(np.mean(pairs))
    assert stats.area(others, members) == pytest.approx(1 - np.mean(pairs))
    assert stats.area(np.exp(members), np.exp(others)) == stats.area(members, others)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, st.integers(2, 15), elements=st.floats(0, 1)), st.randoms())
def test_intervals_hold_in_any_order(values, random):
    table = {f"r{i}": float(v) for i, v in enumerate(values)}
    shuffled = list(table.items())
    random.shuffle(shuffled)
    found = stats.mean(table, {}, bounds=(0.0, 1.0))
    assert stats.mean(dict(shuffled), {}, bounds=(0.0, 1.0)) == found
    if found.ci:
        assert 0 <= found.ci[0] <= found.ci[1] <= 1
    else:
        assert found.note
    assert math.isfinite(found.value)
