"""Every metric in the folder keeps the contract; a new file is found by being there."""

import dataclasses
import doctest
import importlib

import pytest

from unsay import registry
from unsay.metrics._check import check_metric, made_up
from unsay.metrics.calibrated_strength import CalibratedStrength
from unsay.metrics.completeness import Completeness
from unsay.metrics.forgotten_rows import ForgottenRows
from unsay.metrics.kfr import KFR
from unsay.metrics.krr import KRR
from unsay.metrics.linguistic_score import LinguisticScore
from unsay.metrics.model_utility import ModelUtility
from unsay.metrics.needs import Sampling
from unsay.metrics.paraphrase_probability import ParaphraseProbability
from unsay.metrics.probability import Probability
from unsay.metrics.reference_attack import ReferenceAttack
from unsay.metrics.relearn_harmonic import RelearnHarmonic
from unsay.metrics.rouge import Rouge
from unsay.metrics.score import metric_id
from unsay.metrics.truth_ratio import TruthRatio

NAMES = registry.names("metrics")
VARIANTS = [
    Probability(split="world", choices=True),
    Probability(answer="paraphrased", prompt="paraphrased_question", label="reworded"),
    ParaphraseProbability(reworded="question"),
    TruthRatio(split="retain", aggregate="utility"),
    TruthRatio(aggregate="share"),
    ModelUtility(splits=("retain", "world"), choices=("world",)),
    ModelUtility(splits=("retain",), choices=(), parts=("rouge",)),
    Rouge(sampling=Sampling(), label="sampled-rouge"),
    KFR(sampling=Sampling(runs=2), label="sampled-kfr"),
    KRR(sampling=Sampling(), rule="code", matching="pairs", label="sampled-krr"),
    LinguisticScore(sampling=Sampling(), average="medians", label="sampled-ls"),
    RelearnHarmonic(sampling=Sampling(), label="sampled-harmonic"),
    RelearnHarmonic(split="retain", aim="retain"),
    ForgottenRows(against="holdout"),
    ReferenceAttack(reference="base"),
    Completeness(out="base"),
    CalibratedStrength(keep=1.0),
]


def test_the_folder_holds_the_metrics_of_the_specification():
    assert set(NAMES) >= {
        "probability", "paraphrase-probability", "rouge", "truth-ratio", "forget-quality", "model-utility",
        "exact-memorization", "extraction-strength", "loss-attack", "zlib-ratio", "min-k", "min-k-pp",
        "repetition", "fluency", "reference-attack", "gradient-norm", "privleak", "forgetting-effect",
        "closer-look-utility", "completeness", "logit-lens", "refusal-rate", "gibberish", "distinct-n",
        "forgotten-rows", "kfr", "krr", "linguistic-score", "relearn-harmonic", "calibrated-strength",
        "exposure", "novel-recall", "fact-probability",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    check_metric(registry.load("metrics", name)())


@pytest.mark.parametrize("metric", VARIANTS, ids=metric_id)
def test_contract_of_variants(metric):
    check_metric(metric)


@pytest.mark.parametrize("name", NAMES)
def test_named_like_its_file_with_keyword_fields(name):
    metric = registry.load("metrics", name)()
    assert all(field.kw_only for field in dataclasses.fields(metric))
    assert metric_id(metric).partition("@")[0] == name


@pytest.mark.parametrize("name", NAMES)
def test_header_says_what_it_is(name):
    header = registry.header("metrics", name)
    assert "\nPaper: " in header
    assert "\nDiffers: " in header
    assert len(registry.summary("metrics", name)) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_worked_example_in_the_header(name):
    module = importlib.import_module(f"unsay.metrics.{name.replace('-', '_')}")
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


# Random rows of one law are all alike to a test, as they should be.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "forgotten-rows"])
def test_other_measurements_give_another_score(name):
    metric = registry.load("metrics", name)()
    other = made_up(metric.needs, rows=15, text="I do not know one two three two three two three four")
    assert metric.score(made_up(metric.needs)).value != metric.score(other).value
