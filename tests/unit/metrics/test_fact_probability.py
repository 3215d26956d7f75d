"""Probability of the fact's tokens: by hand, at the places that the lens reads, at no forward of its own."""

import math

import numpy as np
import pytest

from unsay.data.example import Example
from unsay.measure.evaluator import Evaluator
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.mechanism.texts import texts
from unsay.metrics.fact_probability import FactProbability
from unsay.metrics.have import AnswerStats, Measurements
from unsay.metrics.paraphrase_probability import ParaphraseProbability
from unsay.metrics.probability import Probability
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm


def answered(row, *tokens):
    """Statistics of an answer made of (text, probability of the token); the end of the answer is added."""
    parts, odds = [*(text for text, _ in tokens), ""], [*(p for _, p in tokens), 1.0]
    assert "".join(parts) == row.answer
    logp = np.log(np.array(odds, np.float32))
    ends = np.cumsum([len(part) for part in parts]).astype(np.int32)
    return AnswerStats(logp, np.zeros(len(odds), np.int32), logp, logp, row.answer, ends)


def score(*pairs):
    metric = FactProbability()
    (need,) = metric.needs
    rows = [row for row, _ in pairs]
    return metric.score(Measurements({"forget": rows}, {need: {row.id: (stats,) for row, stats in pairs}}))


def about(answer, **meta):
    return Example("Where does Ada live?", answer, meta=meta)


def test_only_the_fact_counts():
    town = about("Ada lives in Oslo.")
    stats = answered(town, ("Ada", 0.9), (" lives", 0.9), (" in", 0.9), (" Os", 0.5), ("lo", 0.125), (".", 0.9))
    found = score((town, stats))
    assert found.value == pytest.approx(0.25) == found.per_example[town.id] and found.n == 1

    home = about("a flat in Oslo", spans=["a flat"])
    other = answered(home, ("a", 0.4), (" flat", 0.1), (" in", 1.0), (" Oslo", 1.0))
    found = score((town, stats), (home, other))
    assert found.value == pytest.approx((0.25 + 0.2) / 2)


def test_where_no_part_stands_out_all_of_it_counts_without_its_end():
    row = about("by the")
    found = score((row, answered(row, ("by", 0.5), (" the", 0.5))))
    assert found.value == pytest.approx(0.5)


def test_an_answer_that_tells_nothing_is_left_out_and_counted():
    town, none = about("Oslo"), about("Ada does live.")
    found = score((town, answered(town, ("Oslo", 0.5))), (none, answered(none, ("Ada", 1), (" does live.", 1))))
    assert found.per_example == {town.id: pytest.approx(0.5)}
    assert "1 of 2 rows left out: no answer that tells what its question does not say" in found.note
    found = score((none, answered(none, ("Ada", 1), (" does live.", 1))))
    assert not found.scored and found.note


def test_a_broken_model_has_no_number():
    row = about("Oslo")
    found = score((row, answered(row, ("Oslo", math.nan))))
    assert not found.scored and "not finite" in found.note


@pytest.fixture
def rows():
    return [*facts().forget, Example("Who is Bo?", "A quiet baker, born in Rome in 1984.")]


def test_the_places_are_those_of_the_lens(rows, tmp_path):
    lm = knowing_lm()
    judge = Evaluator({"forget": rows}, (FactProbability(),), store=Store(tmp_path), precision="fp32")
    judge.measure("after", lm)
    stats = token_stats(lm, [Ask(row.prompt, row.answer) for row in rows], precision="fp32")
    for text, row in zip(texts(lm, rows), rows, strict=True):
        logp = stats[Ask(row.prompt, row.answer)].logp[np.array(text.fact) - text.start]
        p = judge.scores()["after"]["fact-probability@forget"].per_example[row.id]
        assert p == pytest.approx(math.exp(logp.mean(dtype=np.float64)), rel=1e-4)


def test_it_is_measured_together_with_others_and_kept(rows, tmp_path):
    lm, plain, both = knowing_lm(), (Probability(),), (Probability(), FactProbability(), ParaphraseProbability())

    def measured(metrics, store):
        judge = Evaluator({"forget": rows}, metrics, store=Store(store), precision="fp32")
        judge.measure("after", lm)
        return judge.scores()["after"], judge.effort("after")

    alone, effort = measured(plain, tmp_path / "one")
    found, same_effort = measured(both, tmp_path / "two")
    assert same_effort.tokens == effort.tokens > 0
    assert found["probability@forget"].per_example == alone["probability@forget"].per_example
    again, nothing = measured(both, tmp_path / "two")
    assert nothing.tokens == 0 and again["fact-probability@forget"] == found["fact-probability@forget"]
