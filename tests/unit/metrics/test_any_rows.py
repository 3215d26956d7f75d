"""What holds for every metric of the folder on any rows: order, repeats of the question, and odd inputs."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unsay import registry
from unsay.metrics._check import made_up, same
from unsay.metrics._ngrams import entropy
from unsay.metrics.completeness import completeness, signal
from unsay.metrics.distinct_n import shares
from unsay.metrics.forgotten_rows import normal_two_sided, two_sided
from unsay.metrics.gibberish import degrees
from unsay.metrics.have import AnswerStats, Measurements
from unsay.metrics.refusal_rate import refuses

NAMES = registry.names("metrics")
TEXT = st.text(max_size=40)
P = arrays(np.float64, 5, elements=st.floats(0, 1))
SIGNALS = arrays(np.float64, st.integers(1, 12), elements=st.floats(-50, 0))


def shuffled(have, random):
    def mixed(items):
        items = list(items)
        random.shuffle(items)
        return items

    answers = {need: dict(mixed(table.items())) for need, table in mixed(have.answers.items())}
    return Measurements({split: tuple(mixed(rows)) for split, rows in have.splits.items()}, answers)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3, deadline=None)
@given(rows=st.integers(1, 9), random=st.randoms())
def test_the_order_of_rows_changes_nothing(name, rows, random):
    metric = registry.load("metrics", name)()
    have = made_up(metric.needs, rows=rows)
    assert same(metric.score(have), metric.score(shuffled(have, random)))


def _oddly(kind, seed):
    rng = np.random.default_rng(seed)

    def tweak(a):
        level = {
            "certain": np.zeros_like(a.logp),
            "impossible": np.full_like(a.logp, -np.inf),
            "mixed": np.where(rng.uniform(size=len(a.logp)) < 0.5, -np.inf, 0.0).astype(np.float32),
            "tiny": np.full_like(a.logp, -1e-30),
            "huge": np.full_like(a.logp, -1e30),
            "broken": np.where(rng.uniform(size=len(a.logp)) < 0.2, np.nan, a.logp).astype(np.float32),
            "one token": a.logp,
        }[kind]
        if kind == "one token":
            return AnswerStats(a.logp[:1], a.rank[:1], a.vocab_mean[:1], a.vocab_std[:1], a.text)
        return AnswerStats(level, a.rank, level, np.abs(level), a.text)

    return tweak


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["certain", "impossible", "mixed", "tiny", "huge", "broken", "one token"])
def test_odd_inputs_give_a_number_or_a_reason(name, kind):
    metric = registry.load("metrics", name)()
    for rows, text in ((1, ""), (2, "\n"), (5, "no no no no no"), (1, "no"), (5, "")):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            found = metric.score(made_up(metric.needs, rows=rows, text=text, tweak=_oddly(kind, rows)))
        assert math.isfinite(found.value) or (math.isnan(found.value) and found.note)
        assert all(map(math.isfinite, [*found.per_example.values(), *found.extra.values()]))
        assert found.ci is None or found.ci[0] <= found.ci[1]


@given(P, P, P, st.integers(2, 30))
def test_completeness_is_a_share_and_grows_as_the_answer_fades(ours, original, out, levels):
    value = completeness(signal(ours), signal(original), signal(out), levels)
    assert np.all((value >= -1e-12) & (value <= 1 + 1e-12))
    assert np.all(completeness(signal(ours / 2), signal(original), signal(out), levels) >= value - 1e-12)


@given(SIGNALS, SIGNALS)
def test_counted_p_values(signals, null):
    """Never below 2/(m+1); mirrored signals have mirrored tails; the order of the null does not matter."""
    p = two_sided(signals, null)
    assert np.all((p >= min(1.0, 2 / (len(null) + 1)) - 1e-12) & (p <= 1))
    assert two_sided(-signals, -null) == pytest.approx(p)
    assert two_sided(signals, null[::-1]) == pytest.approx(p)


@given(SIGNALS, arrays(np.float64, st.integers(3, 12), elements=st.integers(-9, 0).map(float), unique=True))
def test_normal_p_values_fall_with_distance(signals, null):
    p = normal_two_sided(signals, null)
    assert np.all((p >= 0) & (p <= 1))
    order = np.argsort(np.abs(signals - null.mean()))
    assert np.all(np.diff(p[order]) <= 1e-12)


@given(st.lists(TEXT, max_size=6))
def test_shares_of_ngrams(texts):
    found = shares(texts, 1)
    assert all(0 <= x <= 1 for x in found)
    assert shares(texts * 2, 1) == pytest.approx([x / 2 for x in found] * 2)
    assert shares(texts[::-1], 1) == pytest.approx(found[::-1])


@given(TEXT)
def test_text_measures(text):
    assert 0 <= entropy(text) <= 1 + 1e-12
    assert refuses(text) == refuses(text.upper().lower())
    assert refuses(f"I don't know. {text}")


@settings(max_examples=30, deadline=None)
@given(TEXT)
def test_gibberish_is_a_degree(text):
    known = {
        f"r{i}": f"the {x} sat on the mat by the door, as every {x} does"
        for i, x in enumerate(["cat", "dog", "hen"] * 3)
    }
    assert 0 <= degrees({**{i: ["a cat"] for i in known}, "r0": [text]}, known)["r0"] <= 1
