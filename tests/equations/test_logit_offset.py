"""The ensemble's logits on three tokens, worked out by hand, and who receives their gradient."""

from math import log
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unsay.data.template import Encoded
from unsay.models.offset import OffsetModel
from unsay.training.batch import Counts, MicroBatch, Row
from unsay.training.forward import Forward
from unsay.training.step import View


class Table(nn.Module):
    """The same three logits after every token."""

    def __init__(self, *logits):
        super().__init__()
        self.row = nn.Parameter(torch.tensor(logits))

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=self.row.expand(*input_ids.shape, len(self.row)))


def ensemble(a):
    """z_M = (ln 2, 0, 0), z_o = (0, ln 3, 0), z_o0 = (0, 0, ln 2)."""
    return OffsetModel(Table(0.0, log(3), 0.0), a, anchor=Table(0.0, 0.0, log(2)), large=Table(log(2), 0.0, 0.0))


def nll_of_token_1(model):
    batch = MicroBatch.of({"forget": [Row(Encoded([0, 1], 1), "row")]}, 2)
    return View(Forward(model, batch), "forget", Counts(1, 1)).nll


def test_probabilities():
    """a = 2: z = (ln 2, 2 ln 3, −2 ln 2), p ∝ (2, 9, 1/4) = (8, 36, 1)/45."""
    z = ensemble(2.0)(torch.tensor([[0]])).logits[0, 0]
    torch.testing.assert_close(z.softmax(-1), torch.tensor([8.0, 36.0, 1.0]) / 45)
    assert nll_of_token_1(ensemble(2.0)).item() == pytest.approx(log(45 / 36))


def test_gradient_reaches_the_small_model_alone():
    """dL/dz_o = a·(p − onehot) = 2·(8, 36 − 45, 1)/45."""
    model = ensemble(2.0)
    nll_of_token_1(model).backward()
    torch.testing.assert_close(model.small.row.grad, torch.tensor([16.0, -18.0, 2.0]) / 45)
    assert model.large.row.grad is None and model.anchor.row.grad is None
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["small.row"]


def test_a_zero_is_the_large_model():
    torch.testing.assert_close(ensemble(0.0)(torch.tensor([[0]])).logits[0, 0], torch.tensor([log(2), 0.0, 0.0]))


def test_without_a_large_model_it_is_the_anchor_that_is_steered():
    """z = z_o0 + a·(z_o − z_o0); a = 1 is z_o, a = 1/2 half way."""
    pair = {"small": Table(0.0, 2.0, 0.0), "anchor": Table(4.0, 0.0, 0.0)}
    for a, expected in ((1.0, [0.0, 2.0, 0.0]), (0.5, [2.0, 1.0, 0.0])):
        assert OffsetModel(a=a, **pair)(torch.tensor([[0]])).logits[0, 0].tolist() == expected


def test_a_narrower_offset_leaves_the_padding_of_the_vocabulary_alone():
    model = OffsetModel(Table(1.0, 2.0), 1.0, anchor=Table(0.0, 0.0), large=Table(5.0, 5.0, 5.0))
    assert model(torch.tensor([[0]])).logits[0, 0].tolist() == [6.0, 7.0, 5.0]
    wider = OffsetModel(Table(1.0, 2.0, 9.0), 1.0, anchor=Table(0.0, 0.0, 0.0), large=Table(5.0, 5.0))
    assert wider(torch.tensor([[0]])).logits[0, 0].tolist() == [6.0, 7.0]
