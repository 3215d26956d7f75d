"""Our metrics on TOFU's own per-example losses of Llama-2-7B, against TOFU's aggregation written out in numpy.

The logs hold mean losses; an answer whose every token has that loss has the same mean. Tolerance 1e-9.
"""

import gzip
import json

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

from unsay.data.example import Example
from unsay.metrics.forget_quality import ForgetQuality
from unsay.metrics.have import AnswerStats, Measurements
from unsay.metrics.model_utility import ModelUtility
from unsay.metrics.needs import Generations, TokenStats
from unsay.metrics.probability import Probability
from unsay.metrics.rouge import Rouge
from unsay.metrics.score import metric_id
from unsay.metrics.truth_ratio import TruthRatio, log_ratios

FILES = {
    "retain": "eval_log.json",
    "real-authors": "eval_real_author_wo_options.json",
    "world-facts": "eval_real_world_wo_options.json",
    "forget": "eval_log_forget.json",
}
OPTIONS = ("real-authors", "world-facts")
AUTHOR = 20
"""Questions of one author, in order."""


@pytest.fixture(scope="module")
def logs(data_dir):
    names = ("full", "retain90", "retain95", "retain99")
    return {n: json.loads(gzip.open(data_dir / "tofu_eval_logs" / f"llama2-7b_{n}.json.gz").read()) for n in names}


def _answer(loss, tokens):
    logp = np.full(tokens, -loss, np.float32)
    return AnswerStats(logp, np.zeros(tokens, np.int32), logp, logp)


def _column(log, key):
    return np.array([log[key][i] for i in sorted(log[key], key=int)])


def _tables(log, split, model="subject"):
    ids = [f"{split}{i}" for i in sorted(log["avg_gt_loss"], key=int)]
    plain = [(_answer(x, n),) for x, n in zip(_column(log, "avg_gt_loss"), _column(log, "num_token_gt"), strict=True)]
    wrong = [
        tuple(_answer(x, n) for x, n in zip(xs, ns, strict=True))
        for xs, ns in zip(_column(log, "average_perturb_loss"), _column(log, "num_token_perturb"), strict=True)
    ]
    para = [
        (_answer(x, n),)
        for x, n in zip(_column(log, "avg_paraphrased_loss"), _column(log, "num_token_paraphrased"), strict=True)
    ]
    texts = [(t[1],) for t in _column(log, "generated_text")]
    return {
        TokenStats(split, model=model): dict(zip(ids, plain, strict=True)),
        TokenStats(split, answer="perturbed", model=model): dict(zip(ids, wrong, strict=True)),
        TokenStats(split, answer="paraphrased", model=model): dict(zip(ids, para, strict=True)),
        Generations(split, model=model): dict(zip(ids, texts, strict=True)),
    }


def _have(log, retrained=None):
    splits, tables = {}, {}
    for split, file in FILES.items():
        gold = _column(log[file], "generated_text")[:, 2]
        splits[split] = tuple(
            Example(
                "q",
                g,
                id=f"{split}{i}",
                meta={"entity": f"{split}{i // AUTHOR}"} if split in ("forget", "retain") else {},
            )
            for i, g in enumerate(gold)
        )
        tables |= _tables(log[file], split)
    if retrained:
        tables |= _tables(retrained[FILES["forget"]], "forget", "retrained")
    return Measurements(splits, tables)


def _tofu(log, split):
    """Probability, ROUGE and truth ratio of one split as TOFU's script defines them."""
    right, wrong = np.exp(-_column(log, "avg_gt_loss")), np.exp(-_column(log, "average_perturb_loss"))
    probability = right / (right + wrong.sum(axis=1)) if split in OPTIONS else right
    ratio = np.exp(_column(log, "average_perturb_loss").mean(axis=1) - _column(log, "avg_paraphrased_loss"))
    truth = np.minimum(ratio, 1 / ratio) if split == "forget" else np.maximum(0, 1 - 1 / ratio)
    return probability.mean(), _column(log, "rougeL_recall").mean(), truth.mean()


@pytest.mark.parametrize("name", ["full", "retain90", "retain95", "retain99"])
def test_each_split(logs, name):
    have = _have(logs[name])
    for split, file in FILES.items():
        probability, rouge, truth = _tofu(logs[name][file], split)
        aggregate = "forget" if split == "forget" else "utility"
        assert Probability(split=split, choices=split in OPTIONS).score(have).value == pytest.approx(
            probability, abs=1e-9
        )
        assert TruthRatio(split=split, aggregate=aggregate).score(have).value == pytest.approx(truth, abs=1e-9)
        if name == "full" or split == "forget":  # stemming is slow; the other models' generations add nothing
            assert Rouge(split=split).score(have).value == pytest.approx(rouge, abs=1e-9)


def test_per_example_truth_ratio_is_the_logged_one(logs):
    have = _have(logs["full"])
    for split, file in FILES.items():
        ours = np.exp(list(log_ratios(have, split)[0].values()))
        assert ours == pytest.approx(_column(logs["full"][file], "truth_ratio"), rel=2e-6)  # logged in fp32


def test_model_utility(logs):
    log = logs["full"]
    parts = [value for split in ("retain", *OPTIONS) for value in _tofu(log[FILES[split]], split)]
    found = ModelUtility().score(_have(log))
    assert len(parts) == len(found.extra) == 9
    assert found.value == pytest.approx(hmean(parts), abs=1e-9)
    assert found.ci[0] < found.value < found.ci[1]
    assert found.n == 300 + 100 + 117


def test_forget_quality(logs):
    def ratio(log):
        log = log[FILES["forget"]]
        return np.exp(_column(log, "average_perturb_loss").mean(axis=1) - _column(log, "avg_paraphrased_loss"))

    expected = ks_2samp(ratio(logs["full"]), ratio(logs["retain90"]))
    found = ForgetQuality().score(_have(logs["full"], logs["retain90"]))
    assert found.value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.value < 1e-10
    assert found.extra["ks"] == pytest.approx(expected.statistic, abs=1e-12)
    assert found.clusters == 15
    assert found.extra["difference_high"] < 0, "the full model holds the truth likelier than the retrained one"
    same = ForgetQuality().score(_have(logs["retain90"], logs["retain90"]))
    assert same.value == 1.0
    assert same.extra["ks"] == 0.0
    assert metric_id(ForgetQuality()) == "forget-quality@forget"
