"""Which way metrics go, for metrics that a benchmark may use or not."""

import pytest

from unsay import registry
from unsay.benchmarks._suite import directions
from unsay.metrics.distinct_n import DistinctN
from unsay.metrics.forgotten_rows import ForgottenRows
from unsay.metrics.gibberish import Gibberish
from unsay.metrics.logit_lens import LogitLens
from unsay.metrics.refusal_rate import RefusalRate


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
    assert directions([ForgottenRows(split="related")], "down", ("forget", "related")) == {
        "forgotten-rows@related": "match"
    }
