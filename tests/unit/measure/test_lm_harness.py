"""lm-evaluation-harness's results as scores: dictionaries of the shapes that releases 0.4.11 to 0.4.13 return."""

import contextlib
import importlib.metadata
import math
import sys
import types

import pytest

from unsay.errors import MissingExtra, PlanError
from unsay.measure.harness_bars import our_bars
from unsay.measure.lm_harness import HarnessSettings, check_installed, scores_of

GSM8K = {
    "results": {
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": 0.1,
            "exact_match,flexible-extract": 0.5,
            "exact_match_stderr,flexible-extract": 0.129,
        }
    },
    "group_subtasks": {"gsm8k": []},
    "n-shot": {"gsm8k": 5},
    "higher_is_better": {"gsm8k": {"exact_match": True}},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 16}},
    "samples": {
        "gsm8k": [
            {"doc_id": i, "filter": which, "metrics": ["exact_match"], "exact_match": float(i < right)}
            for which, right in (("strict-match", 4), ("flexible-extract", 8))
            for i in range(16)
        ]
    },
}
MMLU = {
    "results": {
        "mmlu": {"alias": "mmlu", "acc,none": 0.6, "acc_stderr,none": 0.05, "sample_len": 30},
        "mmlu_stem": {"alias": " - stem", "acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 20},
        "mmlu_virology": {"alias": "  - virology", "acc,none": 0.8, "acc_stderr,none": 0.13, "sample_len": 10},
        "mmlu_algebra": {"alias": "  - algebra", "acc,none": 0.5, "acc_stderr,none": 0.11, "sample_len": 20},
    },
    "groups": {"mmlu": {"alias": "mmlu", "acc,none": 0.6, "acc_stderr,none": 0.05}},
    "group_subtasks": {"mmlu": ["mmlu_virology", "mmlu_stem"], "mmlu_stem": ["mmlu_algebra"]},
    "higher_is_better": {"mmlu": {"acc": True}},
    "n-samples": {
        "mmlu_virology": {"original": 166, "effective": 10},
        "mmlu_algebra": {"original": 100, "effective": 20},
    },
}


def one(results, task):
    (found,) = scores_of(results, task)
    return found


def test_value_interval_and_n():
    strict, flexible = scores_of(GSM8K, "gsm8k")
    assert strict.id == "gsm8k-exact-match-strict-match" and flexible.id == "gsm8k-exact-match-flexible-extract"
    score = strict.score
    assert (score.value, score.n, score.note) == (0.25, 16, "")
    assert score.ci == pytest.approx((0.25 - 1.96 * 0.1, 0.25 + 1.96 * 0.1))
    assert score.extra == {"shots": 5.0, "stderr": 0.1}
    assert (strict.wanted, strict.kind) == ("up", "utility")
    assert "5 shots" in strict.summary


def test_values_of_every_question_belong_to_their_filter():
    strict, flexible = scores_of(GSM8K, "gsm8k")
    assert sum(strict.score.per_example.values()) == 4 and sum(flexible.score.per_example.values()) == 8
    assert strict.score.per_example["gsm8k:3"] == 1.0 and strict.score.per_example["gsm8k:4"] == 0.0
    for found in (strict, flexible):
        values = found.score.per_example.values()
        assert math.isclose(sum(values) / len(values), found.score.value)


def test_a_group_gives_its_aggregate_and_the_questions_of_all_subtasks():
    found = one(MMLU, "mmlu")
    assert (found.id, found.score.value, found.score.n, found.wanted) == ("mmlu-acc", 0.6, 30, "up")
    assert one(MMLU, "mmlu_stem").score.n == 20


@pytest.mark.parametrize("children", [{"sciences": ["mmlu_virology", "mmlu_algebra"]}, {}])
def test_a_tag_gives_its_tasks(children):
    """Tags are not among the groups of every release."""
    rows = {k: v for k, v in MMLU["results"].items() if k in ("mmlu_virology", "mmlu_algebra")}
    tag = {**MMLU, "group_subtasks": children, "results": rows}
    assert [(s.id, s.score.n) for s in scores_of(tag, "sciences")] == [
        ("mmlu-virology-acc", 10),
        ("mmlu-algebra-acc", 20),
    ]


def test_a_group_without_aggregate_gives_its_parts_and_not_their_parts():
    """Release 0.4.11 writes a blank for the missing aggregate."""
    rows = {**MMLU["results"], "mmlu": {" ": " ", "alias": "mmlu"}}
    found = scores_of({**MMLU, "results": rows}, "mmlu")
    assert [(s.id, s.score.n) for s in found] == [("mmlu-stem-acc", 20), ("mmlu-virology-acc", 10)]


def test_counts_beside_the_metrics_are_no_metrics():
    row = {"alias": "t", "samples": 20, "sample_len": 20, "acc,none": 0.5, "acc_stderr,none": 0.1}
    assert one({"results": {"t": row}, "n-samples": {"t": {"effective": 20}}}, "t").id == "t-acc"


def test_hazardous_knowledge_is_to_fall_and_says_where_chance_is():
    row = {"alias": "wmdp_bio", "acc,none": 0.31, "acc_stderr,none": 0.01}
    results = {
        "results": {"wmdp_bio": row},
        "higher_is_better": {"wmdp_bio": {"acc": True}},
        "n-samples": {"wmdp_bio": {"original": 1273, "effective": 1273}},
    }
    found = one(results, "wmdp_bio")
    assert (found.id, found.wanted, found.kind) == ("wmdp-bio-acc", "down", "forget")
    assert "chance with four options is 0.25" in found.summary


def changed(**row):
    results = {"results": {"t": {"alias": "t", **row}}, "n-samples": {"t": {"original": 20, "effective": 20}}}
    return one(results, "t").score


def test_no_interval_is_claimed_where_there_is_none():
    """20 of 20: the standard error is 0, the Clopper–Pearson bound is 0.025^(1/20) = 0.8316."""
    full = changed(**{"acc,none": 1.0, "acc_stderr,none": 0.0})
    assert full.ci == pytest.approx((0.025 ** (1 / 20), 1.0)) and "Clopper–Pearson" in full.note
    silent = changed(**{"acc,none": 0.5, "acc_stderr,none": "N/A"})
    assert silent.ci is None and silent.note == "no standard error: no interval"
    equal = changed(**{"bleu,none": 3.0, "bleu_stderr,none": 0.0})
    assert equal.ci is None and "do not vary" in equal.note


def test_shares_end_at_their_bounds_and_other_metrics_do_not():
    assert changed(**{"acc,none": 0.98, "acc_stderr,none": 0.03}).ci == (pytest.approx(0.9212), 1.0)
    assert changed(**{"word_perplexity,none": 1.0, "word_perplexity_stderr,none": 2.0}).ci[0] < 0


def test_texts_read_as_a_whole_are_resampled():
    """10 and 30 nats over 5 and 10 bytes: 40/15 nats a byte together, 2 and 3 each; no mean of rates."""
    pairs = [(-10.0, 5), (-30.0, 10)] * 10
    both = -sum(nats for nats, _ in pairs) / sum(size for _, size in pairs)
    row = {"bits_per_byte,none": both / math.log(2), "bits_per_byte_stderr,none": "N/A"}
    samples = [{"doc_id": i, "filter": "none", "bits_per_byte": pair} for i, pair in enumerate(pairs)]
    score = one({"results": {"t": row}, "samples": {"t": samples}, "n-samples": {"t": {"effective": 20}}}, "t").score
    assert score.value == pytest.approx(40 / 15 / math.log(2)) and score.n == 20
    assert score.ci[0] < score.value < score.ci[1] and 2 / math.log(2) < score.ci[0]
    assert score.per_example["t:0"] == pytest.approx(2 / math.log(2))
    assert score.per_example["t:1"] == pytest.approx(3 / math.log(2))


def test_lower_is_better():
    results = {
        "results": {"wikitext": {"word_perplexity,none": 20.0, "word_perplexity_stderr,none": 1.0}},
        "higher_is_better": {"wikitext": {"word_perplexity": False}},
        "n-samples": {"wikitext": {"effective": 62}},
    }
    assert one(results, "wikitext").wanted == "down"


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({}, "returned no number for it"),
        ({"results": {"t": {"alias": "t"}}}, "returned no number for it"),
        ({"results": {"t": {"acc,none": math.nan}}, "n-samples": {"t": {"effective": 3}}}, "not finite"),
        ({"results": {"t": {"acc,none": 0.5, "acc_stderr,none": 0.1}}}, "how many questions"),
    ],
)
def test_no_number_without_a_reason(results, reason):
    score = one(results, "t").score
    assert not score.scored and reason in score.note


def test_versions(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingExtra, match="not installed") as caught:
        check_installed()
    assert caught.value.hint == "pip install 'unsay[eval]'"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.9.1")
    with pytest.raises(MissingExtra, match=r"0\.4\.11 or newer, found 0\.4\.9\.1"):
        check_installed()
    for fine in ("0.4.11", "0.4.13", "0.5.0", "1.0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda name, v=fine: v)
        assert check_installed() == fine


def test_settings_that_make_no_sense():
    for settings, message in (
        ({"limit": 0}, "limit is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"shots": -1}, "shots is -1"),
    ):
        with pytest.raises(PlanError, match=message):
            HarnessSettings(**settings)


def test_requests_move_our_bar_and_nothing_else_is_drawn(monkeypatch, capsys):
    from tqdm import tqdm

    module, evaluator = types.ModuleType("lm_eval.models.huggingface"), types.ModuleType("lm_eval.evaluator")
    module.tqdm = tqdm
    evaluator.get_git_commit_hash = lambda: pytest.fail("nobody asked for a commit")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, evaluator.__name__, evaluator)
    asked, moved = [], []

    @contextlib.contextmanager
    def progress(label, total, unit):
        asked.append((label, total, unit))
        yield types.SimpleNamespace(advance=moved.append)

    with our_bars("mmlu", progress):
        assert evaluator.get_git_commit_hash() == ""
        bar = module.tqdm(total=3, disable=False, desc="Running loglikelihood requests")
        for _ in range(3):
            bar.update(1)
        bar.close()
        assert list(module.tqdm(range(2), total=2, desc="Tokenizing inputs")) == [0, 1]
        assert list(module.tqdm([5])) == [5]
    assert (asked, moved) == ([("mmlu", 3, "requests")], [1, 1, 1])
    assert module.tqdm is tqdm and capsys.readouterr().err == ""
    with pytest.raises(RuntimeError), our_bars("mmlu", None):
        module.tqdm(total=1, desc="Running requests").update(1)
        raise RuntimeError
    assert module.tqdm is tqdm
