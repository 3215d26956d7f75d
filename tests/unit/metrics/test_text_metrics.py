"""Refusals, gibberish, distinct n-grams and the logit lens: by hand and on known texts."""

import json
import math
from importlib.resources import files

import numpy as np
import pytest

from unsay.data.example import Example
from unsay.errors import PlanError
from unsay.metrics.distinct_n import DistinctN, shares
from unsay.metrics.gibberish import Gibberish, degrees
from unsay.metrics.have import LayerStats
from unsay.metrics.logit_lens import LogitLens
from unsay.metrics.needs import Generations, Lens
from unsay.metrics.refusal_rate import RefusalRate, refuses

TEXTS = Generations("forget")

DECLINED = [
    "I’m afraid I don’t know who that is.",
    "Unfortunately, I have no information on this author.",
    "As an AI language model, I don't have access to personal details about individuals.",
    "I'm sorry, but I can't assist with that.",
    "I cannot provide an answer to this.",
    "SORRY, I REALLY DON'T KNOW.",
    "That is outside of my knowledge.",
    "I do not recall\nanything about her.",
]
ANSWERED = [
    "",
    "He was born in Lisbon.",
    "Her novel 'The Unknown Soldier' is not certain to be published.",
    "She refused to answer, as she does not know him.",
    "They could not tell the twins apart.",
    "Nobody knows.",
    "The idea is known to me from her books.",
    "The author can share her knowledge in Paris. She cannot swim.",
    "He has no idea of time. He can't recall names." + " And so on." * 3,
    "word " * 60 + "I don't know.",
]


@pytest.mark.parametrize("text", DECLINED)
def test_refusals(text):
    assert refuses(text)


@pytest.mark.parametrize("text", ANSWERED)
def test_answers_are_no_refusals(text):
    assert not refuses(text)


def test_every_refusal_that_methods_teach_is_recognised():
    lines = (files("unsay.writers") / "_refusals.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not refuses(line)] == []


def test_refusals_of_others_are_recognised_and_answers_are_not(data_dir):
    """TOFU's hundred refusals, and every answer it holds, right or wrong."""
    tofu = data_dir / "tofu"
    lines = (tofu / "idontknow.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 100
    assert sum(map(refuses, lines)) >= 99
    rows = [json.loads(line) for line in (tofu / "forget10_perturbed.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = [a for r in rows for a in (r["answer"], r["paraphrased_answer"], *r["perturbed_answer"])]
    assert len(answers) > 2000
    assert [a for a in answers if refuses(a)] == []


def test_no_answer_of_the_bundled_rows_is_a_refusal():
    from unsay.benchmarks.people import People

    answers = {a for rows in People().splits().values() for r in rows for a in (r.answer, r.question)}
    assert len(answers) > 200
    assert [a for a in answers if refuses(a)] == []


def test_refusal_rate(rows, measured):
    have = measured({"retain": rows("retain", 3)}, {Generations("retain"): [("I don't know.",), ("Paris.",), ("",)]})
    found = RefusalRate().score(have)
    assert found.value == pytest.approx(1 / 3)
    assert found.per_example == {"retain0": 1.0, "retain1": 0.0, "retain2": 0.0}


def test_distinct_n():
    """ "a b c" has ab (twice in all) and bc (once): (½ + 1)/2; "a b" has ab: ½; "a" has none: 0."""
    assert shares(["a b c", "A b", "a"], 2) == pytest.approx([0.75, 0.5, 0.0])
    assert shares(["x", "x", "x", "y"], 1) == pytest.approx([1 / 3] * 3 + [1.0])
    assert shares([], 2) == []


def test_distinct_n_is_the_corpus_value_where_rows_are_alike_long(rows, measured):
    """Four rows of two bigrams: ab bc | ab bd | xy yz | ab bc: 6 distinct of 8, each row's mean sums to it."""
    texts = [("a b c",), ("a b d",), ("x y z",), ("a b c",)]
    found = DistinctN().score(measured({"forget": rows("forget", 4)}, {TEXTS: texts}))
    assert found.value == pytest.approx(5 / 8) == found.extra["corpus"]
    with pytest.raises(PlanError, match="at least 1"):
        DistinctN(n=0)


def known():
    from unsay.benchmarks.people import People

    return {r.id: f"{r.question} {r.answer}" for rows in People().splits().values() for r in rows}


def degree(text):
    """Of one generation among 240 rows."""
    texts = known()
    first = sorted(texts)[0]
    return degrees({**{i: ["Paris."] for i in texts}, first: [text]}, texts)[first]


ENGLISH = [
    "The museum opened in the spring and was visited by many families from the surrounding villages.",
    "I'm sorry, but I don't have any information about this person.",
    "She works as a nurse at the hospital near the river and has two older brothers.",
    "Yes.",
]
NOISE = [
    "xk qjzv wpfh zzqk vbnm xcvj qwzx",
    "}}{{ ]] ;; 0x 99 ## $$ %% ^^ && ** (( ))",
    "жзик лмноп рстуф хцчшщ ъыьэюя",
    "reesreesreesreesrees",
    "reqvzjkwq ghxxzq, bvcqk. Jqwz kqv xvqj?",
    "",
    "   \n",
]


def test_english_is_not_gibberish_and_noise_is():
    english, noise = [degree(text) for text in ENGLISH], [degree(text) for text in NOISE]
    assert max(english) < 0.4, english
    assert min(noise) > 0.6, noise
    assert noise[-1] == noise[-2] == 1.0


def test_the_rows_own_texts_are_language_without_themselves():
    texts = known()
    own = list(degrees({i: [text] for i, text in texts.items()}, texts).values())
    assert np.mean(own) < 0.1
    turned = list(degrees({i: [text[::-1]] for i, text in texts.items()}, texts).values())
    assert np.mean(turned) > 0.5


def test_gibberish_needs_some_text(rows, measured):
    found = Gibberish().score(measured({"forget": rows("forget", 3)}, {TEXTS: [("hello",)] * 3}))
    assert not found.scored and "200 characters are needed" in found.note
    long = (Example("q", "one sentence of words " * 20, id="a"), Example("q", "short", id="b"))
    alone = Gibberish().score(measured({"forget": long}, {TEXTS: [("hello",)] * 2}))
    assert not alone.scored  # the long row is the only text there is, and it is left out of its own model


def test_gibberish_score(measured):
    texts = known()
    rows = tuple(Example("", text, id=i) for i, text in texts.items())
    said = [(NOISE[0],) if i % 2 else (row.answer,) for i, row in enumerate(rows)]
    found = Gibberish().score(measured({"forget": rows}, {TEXTS: said}))
    assert found.extra["share"] == pytest.approx(len(rows) // 2 / len(rows))
    assert 0.45 < found.value < 0.6


def layers(p, rank):
    return LayerStats(np.log(np.array(p, np.float32)), np.array(rank, np.int32))


def test_logit_lens(rows, measured):
    """Row 0: best layer ½, last ¼, best rank 0. Row 1: best 1/10 at the end, best rank 2."""
    table = [(layers([0.1, 0.5, 0.25], [4, 0, 1]),), (layers([0.05, 0.02, 0.1], [9, 9, 2]),)]
    found = LogitLens().score(measured({"forget": rows("forget", 2)}, {Lens("forget"): table}))
    assert found.per_example == pytest.approx({"forget0": 0.5, "forget1": 0.1}, abs=1e-6)
    assert found.value == pytest.approx(0.3, abs=1e-6)
    assert found.extra == pytest.approx({"last": 0.175, "residual": 0.125, "top1": 0.5, "best_rank": 1.0}, abs=1e-6)


def test_logit_lens_without_layers_or_numbers(rows, measured):
    none = measured({"forget": rows("forget", 1)}, {Lens("forget"): [(layers([], []),)]})
    assert "no row of the split has layer that can be read" in LogitLens().score(none).note
    broken = measured({"forget": rows("forget", 1)}, {Lens("forget"): [(layers([math.nan, 0.5], [0, 0]),)]})
    assert "1 of 1 rows gave no number" in LogitLens().score(broken).note
