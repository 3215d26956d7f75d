"""Every metric against numbers worked out by hand; the derivation stands above each."""

import math

import numpy as np
import pytest

from unsay.data.example import Example
from unsay.metrics.exact_memorization import ExactMemorization
from unsay.metrics.extraction_strength import ExtractionStrength
from unsay.metrics.fluency import Fluency, diversity
from unsay.metrics.forget_quality import ForgetQuality
from unsay.metrics.loss_attack import LossAttack
from unsay.metrics.min_k import MinK
from unsay.metrics.min_k_pp import MinKPp
from unsay.metrics.model_utility import ModelUtility
from unsay.metrics.needs import Generations, TokenStats
from unsay.metrics.paraphrase_probability import ParaphraseProbability
from unsay.metrics.probability import Probability
from unsay.metrics.repetition import Repetition
from unsay.metrics.rouge import Rouge, recall
from unsay.metrics.score import metric_id
from unsay.metrics.truth_ratio import TruthRatio
from unsay.metrics.zlib_ratio import ZlibRatio

PLAIN, WRONG, PARA = (TokenStats("forget", answer=a) for a in ("answer", "perturbed", "paraphrased"))
TEXTS = Generations("forget")


def test_probability(answer, rows, measured):
    """Row 0: exp(mean(ln ½, ln ⅛)) = (1/16)^½ = ¼. Row 1: p = 1. Mean 5/8."""
    table = [(answer(np.log([1 / 2, 1 / 8])),), (answer([0.0, 0.0, 0.0]),)]
    found = Probability().score(measured({"forget": rows("forget", 2)}, {PLAIN: table}))
    assert found.value == pytest.approx(5 / 8, abs=1e-7)
    assert found.per_example == pytest.approx({"forget0": 1 / 4, "forget1": 1.0}, abs=1e-7)
    assert found.n == 2


def test_probability_among_choices(with_loss, rows, measured):
    """½ against ¼ and ¼: ½ / 1 = ½. With losses 800 and 801, where p underflows: 1 / (1 + e⁻¹)."""
    tables = {
        PLAIN: [with_loss(math.log(2)), with_loss(800)],
        WRONG: [with_loss([math.log(4)] * 2), with_loss(801)],
    }
    found = Probability(choices=True).score(measured({"forget": rows("forget", 2)}, tables))
    assert found.per_example == pytest.approx({"forget0": 0.5, "forget1": 1 / (1 + math.exp(-1))}, abs=1e-7)


def test_paraphrase_probability(with_loss, rows, measured):
    """Answer side: mean of two paraphrases e⁻¹ and e⁻³. Question side reads the reworded question."""
    question = TokenStats("forget", prompt="paraphrased_question")
    have = measured({"forget": rows("forget", 1)}, {PARA: [with_loss([1, 3])], question: [with_loss(2)]})
    assert ParaphraseProbability().score(have).value == pytest.approx((math.exp(-1) + math.exp(-3)) / 2)
    assert ParaphraseProbability(reworded="question").score(have).value == pytest.approx(math.exp(-2))


def test_truth_ratio(with_loss, rows, measured):
    """Row 0: ln R = 2 − (1+2+6)/3 = −1. Row 1: no paraphrase, the answer's loss 3 stands in: ln R = 3 − 1 = 2.

    forget: (e⁻¹ + e⁻²)/2. utility: (1 − e⁻¹ + 0)/2. share: (1/(1+e⁻¹) + 1/(1+e²))/2.
    """
    tables = {
        PLAIN: [with_loss(9), with_loss(3)],
        PARA: [with_loss(2), ()],
        WRONG: [with_loss([1, 2, 6]), with_loss(1)],
    }
    have = measured({"forget": rows("forget", 2)}, tables)
    assert TruthRatio().score(have).value == pytest.approx((math.exp(-1) + math.exp(-2)) / 2)
    assert TruthRatio(aggregate="utility").score(have).value == pytest.approx((1 - math.exp(-1)) / 2)
    share = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(2))) / 2
    assert TruthRatio(aggregate="share").score(have).value == pytest.approx(share)
    assert "the answer stands in for a paraphrase in 1 of 2 rows" in TruthRatio().score(have).note


def test_truth_ratio_without_any_paraphrases_measured(with_loss, rows, measured):
    """The evaluator could not answer the paraphrases at all: the answers stand in, ln R = 3 − 1."""
    tables = {PLAIN: [with_loss(3)], WRONG: [with_loss(1)]}
    have = measured({"forget": rows("forget", 1)}, tables, {PARA: "no paraphrases"})
    assert TruthRatio().score(have).value == pytest.approx(math.exp(-2))


def test_memorisation(answer, rows, measured):
    """Ranks 0 1 0 0 | 0 0 | 0 5: EM = ¾, 1, ½; ES = 2/4, 1, 0 (or ½ where the floor is 1/|y|)."""
    table = [(answer(np.full(len(r), -1.0), rank=r),) for r in ([0, 1, 0, 0], [0, 0], [0, 5])]
    have = measured({"forget": rows("forget", 3)}, {PLAIN: table})
    assert ExactMemorization().score(have).value == pytest.approx((0.75 + 1 + 0.5) / 3)
    assert ExtractionStrength().score(have).value == pytest.approx((0.5 + 1 + 0) / 3)
    assert ExtractionStrength(compat="open-unlearning").score(have).value == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_a_broken_model_does_not_look_like_perfect_memory(answer, rows, measured):
    """NaN logits leave every rank at 0, which is the argmax."""
    have = measured({"forget": rows("forget", 2)}, {PLAIN: [(answer([math.nan] * 3),), (answer([-1.0]),)]})
    for metric in (ExactMemorization(), ExtractionStrength(), Probability()):
        found = metric.score(have)
        assert not found.scored
        assert "1 of 2 rows gave no number" in found.note


def test_rouge():
    """Answer of five words; "the cat sat" is a common subsequence of three; stems join walks and walking."""
    assert recall("the black cat sat down", "The cat sat.") == pytest.approx(3 / 5)
    assert recall("he walks", "walking he") == pytest.approx(1 / 2)
    assert recall("walks", "walking") == 1.0
    assert recall("Paris", "") == 0.0


def test_rouge_score_reads_the_generation(measured):
    row = Example("Where?", "in Paris France", id="a")
    have = measured({"forget": (row,)}, {TEXTS: [("Paris",)]})
    assert Rouge().score(have).value == pytest.approx(1 / 3)


def test_forget_quality(with_loss, rows, measured):
    """ln R of the subject: −3 −2 −1 (paraphrase 0, perturbed 3 2 1); retrained: 1 2 3 (paraphrase 1 2 3, perturbed 0).

    The samples do not overlap: D = 1, p = 2 / C(6, 3) = 1/10. Paired ln R: −4 −4 −4, mean −4; flipping three signs,
    2 of 8 sums are as large: p = ¼.
    """
    tables = {
        PLAIN: [with_loss(0)] * 3,
        PARA: [with_loss(0)] * 3,
        WRONG: [with_loss(x) for x in (3, 2, 1)],
        TokenStats("forget", model="retrained"): [with_loss(0)] * 3,
        TokenStats("forget", answer="paraphrased", model="retrained"): [with_loss(x) for x in (1, 2, 3)],
        TokenStats("forget", answer="perturbed", model="retrained"): [with_loss(0)] * 3,
    }
    found = ForgetQuality().score(measured({"forget": rows("forget", 3)}, tables))
    assert found.value == pytest.approx(0.1)
    assert found.extra["ks"] == 1.0
    assert found.extra["n_retrained"] == 3
    assert found.extra["log_ratio_difference"] == pytest.approx(-4)
    assert found.extra["difference_p"] == pytest.approx(1 / 4)
    assert found.per_example["forget2"] == pytest.approx(-1)


def test_model_utility(with_loss, measured):
    """Parts: retain probability ½, ROUGE 1, truth ratio 1 − ½ = ½; world probability ½/(½+½) = ½, ROUGE ½, truth ratio

    1 − e^(ln2 − ln2) = 0 → the whole is 0. Without the world truth ratio: 5 / (2 + 1 + 2 + 2 + 2) = 5/9.
    """
    ln2 = math.log(2)
    retain, world = Example("q", "one two", id="r"), Example("q", "three four", id="w")
    tables = {
        TokenStats("retain"): [with_loss(ln2)],
        TokenStats("retain", answer="paraphrased"): [with_loss(ln2)],
        TokenStats("retain", answer="perturbed"): [with_loss(2 * ln2)],
        Generations("retain"): [("one two",)],
        TokenStats("world"): [with_loss(ln2)],
        TokenStats("world", answer="paraphrased"): [()],
        TokenStats("world", answer="perturbed"): [with_loss(ln2)],
        Generations("world"): [("three",)],
    }
    have = measured({"retain": (retain,), "world": (world,)}, tables)
    full = ModelUtility(splits=("retain", "world"), choices=("world",)).score(have)
    expected = {"probability": 0.5, "rouge": 1.0, "truth-ratio": 0.5}
    assert {k: full.extra[f"retain/{k}"] for k in expected} == pytest.approx(expected)
    assert {k: full.extra[f"world/{k}"] for k in expected} == pytest.approx(
        {"probability": 0.5, "rouge": 0.5, "truth-ratio": 0.0}
    )
    assert full.value == 0.0
    two = ModelUtility(splits=("retain", "world"), choices=("world",), parts=("probability", "rouge")).score(have)
    assert two.value == pytest.approx(4 / (2 + 1 + 2 + 2))
    assert ModelUtility(splits=("retain",), choices=()).score(have).value == pytest.approx(3 / (2 + 1 + 2))


def test_membership(answer, rows, measured):
    """Signals.

    loss: members −1, −3 against −2: one of two pairs → ½. Retrained: members −1, −1 → 1, excess −½.
    min-k (k = ½): lowest half of (−1, −9), (−3, −3) = −9, −3 against lowest of (−4, −4) = −4 → ½.
    min-k++: z of members (0 and 2), of others 1 → ½.
    """
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 1)}
    holdout = TokenStats("holdout")
    have = measured(
        splits,
        {
            PLAIN: [(answer([-1.0]),), (answer([-3.0]),)],
            holdout: [(answer([-2.0]),)],
            TokenStats("forget", model="retrained"): [(answer([-1.0]),), (answer([-1.0]),)],
            TokenStats("holdout", model="retrained"): [(answer([-2.0]),)],
        },
    )
    found = LossAttack().score(have)
    assert found.value == 0.5
    assert found.n == 3
    assert found.per_example == {"forget0": -1.0, "forget1": -3.0, "holdout0": -2.0}
    assert found.extra == {"two_sided": 0.0, "members": 2, "others": 1, "retrained_auc": 1.0, "excess": -0.5}

    missing = {TokenStats(s, model="retrained"): "no retrained model" for s in splits}
    tables = {PLAIN: [(answer([-1.0, -9.0]),), (answer([-3.0, -3.0]),)], holdout: [(answer([-4.0, -4.0]),)]}
    found = MinK(k=0.5).score(measured(splits, tables, missing))
    assert found.per_example == {"forget0": -9.0, "forget1": -3.0, "holdout0": -4.0}
    assert found.value == 0.5
    assert "retrained_auc" not in found.extra

    tables = {
        PLAIN: [(answer([-2.0], mean=[-2], std=[1]),), (answer([-1.0], mean=[-2], std=[0.5]),)],
        holdout: [(answer([-1.0], mean=[-2], std=[1]),)],
    }
    found = MinKPp().score(measured(splits, tables, missing))
    assert found.per_example == {"forget0": 0.0, "forget1": 2.0, "holdout0": 1.0}


def test_zlib(answer, rows, measured):
    """zlib of eight a is 11 bytes: a summed loss of 22 over two tokens gives −2."""
    splits = {"forget": rows("forget", 1), "holdout": rows("holdout", 1)}
    tables = {
        PLAIN: [(answer([-11.0, -11.0], text="aaaaaaaa"),)],
        TokenStats("holdout"): [(answer([-33.0], text="aaaaaaaa"),)],
    }
    missing = {TokenStats(s, model="retrained"): "no retrained model" for s in splits}
    found = ZlibRatio().score(measured(splits, tables, missing))
    assert found.per_example == {"forget0": -2.0, "holdout0": -3.0}
    assert found.value == 1.0


def test_repetition_and_fluency(rows, measured):
    """ "no" × 5 has two 4-grams, one distinct: ½. "a b c d e" repeats nothing. Mean ¼; the empty text repeats nothing.

    Words in all: 10, distinct 6 → distinct_1 = .6. Diversity of "no" × 5: ¼ · ⅓ · ½ = 1/24; of the others 1 and 0.
    """
    have = measured({"forget": rows("forget", 3)}, {TEXTS: [("no no no no no",), ("a b c d e",), (" ",)]})
    found = Repetition().score(have)
    assert found.per_example == {"forget0": 0.5, "forget1": 0.0, "forget2": 0.0}
    assert found.extra["distinct_1"] == pytest.approx(0.6)
    assert found.extra["empty"] == pytest.approx(1 / 3)
    assert Fluency(split="forget").score(have).value == pytest.approx((1 / 24 + 1 + 0) / 3)
    assert diversity("!!!!!!!!!!") < 0.01


def test_ids_of_two_variants_differ():
    assert metric_id(MinKPp()) == "min-k-pp@forget"
    assert metric_id(Probability(split="world", choices=True)) == "probability@world"
    assert (
        metric_id(ParaphraseProbability(reworded="question", label="reworded-question")) == "reworded-question@forget"
    )
    assert metric_id(ModelUtility()) == "model-utility"
