"""Padding and grouping against brute force."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsay.data.batch import groups, pad, padding, split_sorted
from unsay.data.template import Encoded
from unsay.errors import DataError

sizes = st.lists(st.integers(1, 30), min_size=1, max_size=9)


def padded(lengths, parts):
    return sum(max(lengths[i] for i in part) * len(part) for part in parts)


def contiguous(lengths, k):
    """Every way to cut the sorted rows into k pieces."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for cuts in combinations(range(1, len(order)), k - 1):
        edges = [0, *cuts, len(order)]
        yield [order[a:b] for a, b in pairwise(edges)]


def partitions(items, k):
    """Every way to share items among k groups (contiguous or not)."""
    if not items:
        yield [[] for _ in range(k)]
        return
    for rest in partitions(items[1:], k):
        for g in range(k):
            yield [[*part, items[0]] if i == g else part for i, part in enumerate(rest)]


def test_pad():
    ids, lengths, start = pad([Encoded([5, 6, 7], 1), Encoded([8], 1), Encoded([9, 9], 2)], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9], [9, 9, 9]]
    assert lengths.tolist() == [3, 1, 2]
    assert start.tolist() == [1, 1, 2]
    assert {a.dtype for a in (ids, lengths, start)} == {np.dtype(np.int64)}
    with pytest.raises(DataError, match="at least one row"):
        pad([], 0)


@given(sizes, st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_groups_keep_the_budget_with_fewest_groups_and_least_padding(lengths, budget):
    got = groups(lengths, budget)
    assert sorted(i for part in got for i in part) == list(range(len(lengths)))
    assert all(len(p) == 1 or max(lengths[i] for i in p) * len(p) <= budget for p in got)
    for k in range(1, len(got) + 1):
        fit = [
            padded(lengths, parts)
            for parts in contiguous(lengths, k)
            if all(len(p) == 1 or max(lengths[i] for i in p) * len(p) <= budget for p in parts)
        ]
        if k < len(got):
            assert not fit
        else:
            assert padded(lengths, got) == min(fit)
    longest = [max(lengths[i] for i in p) for p in got]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_split_is_the_best_of_all_partitions(lengths, data):
    k = data.draw(st.integers(1, len(lengths)))
    got = split_sorted(lengths, k)
    assert len(got) == k
    assert sorted(i for part in got for i in part) == list(range(len(lengths)))
    best = min(padded(lengths, p) for p in partitions(list(range(len(lengths))), k) if all(p))
    assert padded(lengths, got) == best


def test_split_refuses_impossible_counts():
    for n, k in [(2, 3), (2, 0), (0, 1)]:
        with pytest.raises(DataError, match=f"{n} rows cannot be split into {k} groups"):
            split_sorted([1] * n, k)


def test_groups_of_nothing_and_of_no_budget():
    assert groups([], 10) == []
    with pytest.raises(DataError, match="micro_tokens is 0"):
        groups([1], 0)


def test_padding_share():
    assert padding([4, 2], [[0, 1]]) == pytest.approx(0.25)
    assert padding([4, 2], [[0], [1]]) == 0
    assert padding([], []) == 0


def test_realistic_batches_waste_under_five_percent():
    lengths = np.random.default_rng(0).normal(70, 25, 512).clip(20, 200).astype(int).tolist()
    assert padding(lengths, groups(lengths, 1024)) < 0.03
    batch = lengths[:32]
    assert padding(batch, split_sorted(batch, 8)) < 0.05
