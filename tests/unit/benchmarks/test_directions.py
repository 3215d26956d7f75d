"""Which way metrics go, for metrics that a benchmark may use or not."""

import dataclasses

import pytest

from unsay import registry
from unsay.benchmarks._suite import directions
from unsay.metrics.distinct_n import DistinctN
from unsay.metrics.forgotten_rows import ForgottenRows
from unsay.metrics.gibberish import Gibberish
from unsay.metrics.logit_lens import LogitLens
from unsay.metrics.refusal_rate import RefusalRate
from unsay.metrics.score import metric_id
from unsay.metrics.token_rate import TokenRate


@pytest.mark.parametrize("forget", ["match", "down"])
def test_what_a_broken_model_would_win_is_to_match(forget):
    names = ("forgetting-effect", "completeness", "forgotten-rows", "privleak", "reference-attack", "gradient-norm")
    found = directions([registry.load("metrics", name)() for name in names], forget=forget)
    assert found == {f"{name}@forget": "match" for name in names}


def test_the_same_metric_goes_another_way_on_rows_to_keep():
    metrics = [m(split=s) for m in (RefusalRate, DistinctN, Gibberish, LogitLens) for s in ("forget", "retain")]
    assert directions(metrics, forget="down") == {
        "refusal-rate@forget": "match", "refusal-rate@retain": "down",
        "distinct-n@forget": "match", "distinct-n@retain": "up",
        "gibberish@forget": "down", "gibberish@retain": "down",
        "logit-lens@forget": "match", "logit-lens@retain": "up",
    }  # fmt: skip
    rates = [TokenRate(), TokenRate(form="raw", label="token-rate-raw"), TokenRate(split="retain")]
    assert list(directions(rates, forget="match").values()) == ["up", "up", "down"]
    assert directions([ForgottenRows(split="related")], "down", ("forget", "related")) == {
        "forgotten-rows@related": "match"
    }


@pytest.mark.parametrize(("name", "attacked"), [("people", True), ("people-small", True), ("tofu", False)])
def test_what_costs_nothing_is_measured_by_default(name, attacked):
    """Token statistics and generations of the other metrics serve these; the base model alone is asked anew."""
    benchmark = registry.load("benchmarks", name)()
    metrics = {metric_id(m): m for m in benchmark.metrics()}
    extra = {
        "completeness@forget",
        "forgotten-rows@forget",
        "refusal-rate@retain",
        "gibberish@forget",
        "distinct-n@forget",
    }
    extra |= {"reference-attack@forget", "privleak@forget"} if attacked else set()
    assert extra <= metrics.keys() and extra <= benchmark.wanted().keys()
    rest = {need for i, m in metrics.items() if i not in extra for need in m.needs}
    asked = {dataclasses.replace(n, model="subject") for i in extra for n in metrics[i].needs if n.model != "base"}
    asked = {n for n in asked if attacked or n.split != "holdout"}  # a split without rows
    assert asked <= {dataclasses.replace(n, model="subject") for n in rest}
