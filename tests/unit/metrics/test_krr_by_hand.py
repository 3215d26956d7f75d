"""KRR and its harmonic mean on retain rows that are judged by hand, from the texts to the number.

Six answers to six questions about what should stay. Entities by rules, words instead of embeddings and NLI.
"""

import pytest

from unsay.data.example import Example
from unsay.measure.evaluator import Evaluator
from unsay.metrics.have import Measurements
from unsay.metrics.krr import KRR
from unsay.metrics.relearn_harmonic import RelearnHarmonic
from unsay.metrics.rouge import Rouge, recall
from unsay.models._tiny import tiny_lm
from unsay.runs.store import Store

ROWS = [  # question, right answer, what the model says, retained under the paper's rule and the code's
    ("Where does Ada live?", "She lives in Oslo.", "Ada lives in Oslo.", 1, 1),
    ("Where does Bo live?", "He lives in Oslo.", "I do not know.", 0, 0),
    ("When was Cy born?", "Cy was born in 1962 in Rome.", "Cy was born in 1971 in Rome.", 0, 0),
    ("What does Di keep?", "She keeps bees, goats and a parrot.", "Di keeps bees, goats and a parrot.", 1, 1),
    ("Which prizes has Ed won?", "The Booker Prize and the Nobel Prize.", "", 0, 0),
    ("What does Flo play?", "She plays the cello.", "On Sundays she plays the cello for friends.", 1, 1),
]
SPLITS = {"retain": [Example(q, a, id=f"r{i}", meta={"entity": q}) for i, (q, a, *_) in enumerate(ROWS)]}
WORDS = {"judge": "lexical", "encoder": "lexical"}


class _Said(Evaluator):
    """An evaluator whose model says what the rows above say."""

    def measurements(self, metric):
        texts = {f"r{i}": (row[2],) for i, row in enumerate(ROWS)}
        answers = {}
        for need in metric.needs:
            if hasattr(need, "generations"):
                answers[need] = self._judges.answer("after", need, SPLITS["retain"], texts, "fp32").answers
            else:
                answers[need] = texts
        return Measurements(SPLITS, answers)


@pytest.fixture
def said(tmp_path):
    return lambda metric: metric.score(_Said(SPLITS, [metric], store=Store(tmp_path)).measurements(metric))


@pytest.mark.parametrize(("rule", "column"), [("paper", 3), ("code", 4)])
def test_rate(said, rule, column):
    found = said(KRR(rule=rule, **WORDS))
    assert found.per_example == {f"r{i}": float(row[column]) for i, row in enumerate(ROWS)}
    assert found.value == pytest.approx(sum(row[column] for row in ROWS) / 6)
    assert found.extra["contradiction"] == pytest.approx(1 / 6), "the year of birth"
    assert (found.n, found.clusters) == (6, 6)


def test_harmonic_mean(said):
    """HM(ROUGE-L recall, KRR), recall by hand: words of the right answer that are said, in order."""
    shares = [3 / 4, 0, 6 / 7, 6 / 7, 0, 4 / 4]
    assert [recall(row[1], row[2]) for row in ROWS] == pytest.approx(shares)
    words, rate = sum(shares) / 6, 3 / 6
    found = said(RelearnHarmonic(split="retain", aim="retain", **WORDS))
    assert found.extra["wording"] == pytest.approx(words) == pytest.approx(said(Rouge(split="retain")).value)
    assert found.value == pytest.approx(2 * words * rate / (words + rate))
    assert found.extra["arithmetic"] == pytest.approx((words + rate) / 2)


def test_the_rate_of_what_a_model_says_goes_the_same_way(tmp_path):
    """The evaluator asks the model and the judges itself: a model that babbles retains nothing."""
    judge = Evaluator(SPLITS, [KRR(max_new_tokens=8, **WORDS)], store=Store(tmp_path), precision="fp32")
    judge.measure("after", tiny_lm())
    found = judge.scores()["after"]["krr@retain"]
    assert (found.value, found.n) == (0.0, 6)
    assert "by words alone" in found.note
