"""ROUGE-L F1 by hand; where a generation ends; how much of the answer counts."""

import pytest

from unsay.data.example import Example
from unsay.errors import PlanError
from unsay.metrics.needs import Generations
from unsay.metrics.rouge_f1 import RougeF1, f1


def score(metric, answer, *texts):
    from unsay.metrics.have import Measurements

    rows = tuple(Example("q", answer, id=f"r{i}") for i in range(len(texts)))
    need = Generations("forget", max_new_tokens=metric.max_new_tokens)
    return metric.score(Measurements({"forget": rows}, {need: {r.id: (t,) for r, t in zip(rows, texts, strict=True)}}))


def test_by_hand():
    """LCS "the cat sat": P = 3/5, R = 3/4, F1 = 2·(3/5)(3/4)/(27/20) = 2/3. A copy scores 1, other words 0."""
    found = score(RougeF1(), "the black cat sat", "the cat sat on it", "The black cat sat.", "nothing alike", "")
    assert list(found.per_example.values()) == pytest.approx([2 / 3, 1, 0, 0])
    assert found.value == pytest.approx(5 / 12) and found.n == 4 and found.ci


def test_no_stemming():
    assert f1("the cats", "the cat") == pytest.approx(0.5)


def test_a_generation_ends_before_the_next_question():
    text = "Paris\nQuestion: What is the capital of Spain?\nAnswer: Madrid"
    assert score(RougeF1(), "Paris", text).value < 0.3
    assert score(RougeF1(stop=("\n\n", "\nQuestion", "Question:")), "Paris", text).value == 1


def test_only_the_first_words_of_the_answer_count():
    """The generation is the answer's first two words: 2·1·½/(3/2) = 2/3 of four words, 1 of two."""
    assert score(RougeF1(), "one two three four", "one two").value == pytest.approx(2 / 3)
    assert score(RougeF1(answer_words=2), "one two three four", "one two").value == 1


def test_settings_that_make_no_sense():
    for settings in ({"answer_words": -1}, {"stop": ("",)}):
        with pytest.raises(PlanError, match="answer_words is"):
            RougeF1(**settings)
