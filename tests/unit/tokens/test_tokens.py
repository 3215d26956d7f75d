"""Which tokens count."""

import numpy as np
import pytest
import torch

from unsay.data.example import Example
from unsay.data.template import Encoded
from unsay.errors import MethodError, PlanError
from unsay.tokens._token_weights import Item, top_share
from unsay.tokens.all import All
from unsay.tokens.delta import Delta
from unsay.tokens.entities import Entities
from unsay.tokens.lowest_loss import LowestLoss
from unsay.tokens.score import Score
from unsay.tokens.skip_first import SkipFirst


def item(*pieces, prompt="q"):
    ids = list(range(10, 12 + len(pieces)))
    return Item(Example(prompt, "".join(pieces)), Encoded(ids, 2), pieces)


class Scorer:
    """The loss of a token is 1, plus 5 on the last one when the first answer token is not 12."""

    ordinary_tokens = np.arange(100, 120)

    def __init__(self):
        self.calls = []

    def nll(self, rows, model=""):
        self.calls.append((len(rows), model))
        out = []
        for row in rows:
            losses = np.ones(len(row.answer_ids), np.float32)
            if row.input_ids[2] != 12:
                losses[-1] += 5
            out.append(losses if not model else losses + np.arange(len(losses), dtype=np.float32))
        return out


def test_top_share_keeps_at_least_one_and_the_first_of_equals():
    assert top_share(np.array([1.0, 3.0, 3.0, 0.0]), 0.25).tolist() == [0, 1, 0, 0]
    assert top_share(np.array([1.0]), 0.01).tolist() == [1]


def test_all_and_skip_first():
    items = [item("a", "b", "c"), item("a")]
    assert [w.tolist() for w in All().before(items, Scorer(), 0)] == [[1, 1, 1], [1]]
    assert [w.tolist() for w in SkipFirst().before(items, Scorer(), 0)] == [[0, 1, 1], [1]]


def test_delta_finds_the_token_that_the_end_depends_on():
    scorer = Scorer()
    (weights,) = Delta(share=0.25, replacements=3).before([item("a", "b", "c", "d")], scorer, 0)
    assert weights.tolist() == [1, 0, 0, 0]
    assert scorer.calls == [(1 + 2 * 3, "")]  # half of the answer is perturbed, three times each


def test_delta_of_an_answer_too_short_to_have_a_beginning():
    assert Delta().before([item("a")], Scorer(), 0)[0].tolist() == [1]


def test_delta_never_targets_tokens_after_the_prefix():
    (weights,) = Delta(share=0.5).before([item("a", "b", "c", "d")], Scorer(), 0)
    assert weights.tolist() == [1, 1, 0, 0]


def test_entities_are_found_by_capitals_and_digits():
    pieces = ("She", " was", " born", " in", " Os", "lo", ",", " on", " ", "12", " May", " ")
    weights = Entities(weight=10, other=0).before([item(*pieces)], Scorer(), 0)[0]
    assert [p for p, w in zip(pieces, weights, strict=True) if w] == ["She", " Os", "lo", ",", "12", " May"]
    assert Entities().before([item("all", " small")], Scorer(), 0)[0].tolist() == [1, 1]


def test_score_is_global_and_leaves_no_row_empty():
    rows = [item("a", "b", "c", "d"), item("a")]
    weights = Score(reference="other", share=0.4).before(rows, Scorer(), 0)
    assert weights[0].tolist() == [0, 0, 1, 1] and weights[1].tolist() == [1]
    with pytest.raises(MethodError, match="never saw"):
        Score().before(rows, Scorer(), 0)


def test_lowest_loss_chooses_within_each_row():
    nll = torch.tensor([[9.0, 3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 6.0, 0.0, 0.0]])
    mask = torch.tensor([[False, True, True, True, False], [False, True, True, False, False]])
    rule = LowestLoss(share=0.6)
    now = rule.now(nll, mask)
    assert now.tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    sizes = [item("a", "b", "c"), item("a", "b")]
    assert [w.sum() for w in rule.before(sizes, Scorer(), 0)] == pytest.approx(now.sum(1).tolist())


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.7, 0.8, 1.0])
def test_lowest_loss_has_the_mass_it_announced(size, share):
    rule, mask = LowestLoss(share=share), torch.ones(1, size, dtype=torch.bool)
    announced = rule.before([item(*["x"] * size)], Scorer(), 0)[0].sum()
    assert rule.now(torch.rand(1, size), mask).sum().item() == pytest.approx(announced, rel=1e-5)


def test_settings_out_of_range():
    for rule, settings in ((Delta, {"share": 0}), (LowestLoss, {"share": 1.1}), (Score, {"share": 0})):
        with pytest.raises(PlanError):
            rule(**settings)
    with pytest.raises(PlanError):
        Entities(weight=0)
