"""Which tensors MemFlex trains, and the words it scrambles."""

import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.errors import MethodError
from unsay.methods.memflex import MemFlex, located
from unsay.models.adapters import attach
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm

TRAIN = Train(lr=1e-3, batch=4, micro_tokens=4096, max_steps=2, precision="fp32", checkpoint_every=0)


def test_located_by_hand():
    """a: same direction; b: opposite and large; c: orthogonal and small; d: no gradient at all."""
    forget = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([5.0, 0.0]), "c": torch.tensor([0.1, 0.0])}
    retain = {"a": torch.tensor([6.0, 8.0]), "b": torch.tensor([-1.0, 0.0]), "c": torch.tensor([0.0, 1.0])}
    forget["d"], retain["d"] = torch.zeros(2), torch.ones(2)
    assert located(forget, retain, cosine=0.9, quantile=0.0) == {"b", "c"}
    assert located(forget, retain, cosine=0.9, quantile=0.6) == {"b"}
    assert located(forget, retain, cosine=1.1, quantile=0.9) == {"a"}  # mean |g| of 3.5 is the largest


def test_what_is_not_located_does_not_move():
    lm = knowing_lm()
    with Run.temporary(TRAIN) as run:
        method = MemFlex(quantile=0.7)
        chosen = method.plugs(lm, facts(), run).only
        after = method.unlearn(lm, facts(), run)
    old = dict(lm.model.named_parameters())
    moved = {name for name, p in after.model.named_parameters() if not torch.equal(p, old[name])}
    assert moved == {name for name in old if chosen(name)} and 0 < len(moved) < len(old)


def test_only_the_outer_matrices_of_a_fresh_adapter_can_be_located():
    lm = attach(knowing_lm(), Adapter(rank=2))
    with Run.temporary(TRAIN) as run:
        chosen = MemFlex(quantile=0.0, cosine=1.1).plugs(lm, facts(), run).only
    names = [name for name, p in lm.model.named_parameters() if p.requires_grad and chosen(name)]
    assert names and all("lora_B" in name for name in names)


def test_nothing_to_locate():
    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="no tensor is located"):
        MemFlex(cosine=-1.1).plugs(knowing_lm(), facts(), run)
