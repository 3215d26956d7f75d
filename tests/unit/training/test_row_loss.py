"""Values and gradients of row functions against autograd over whole logits."""

import pytest
import torch

from unsay.training import row_loss
from unsay.training.row_loss import Projection, divergence_from, log_probability, row_values

HEADS = {
    "plain": {},
    "bias": {"bias": True},
    "softcap": {"softcap": 3.0},
    "all": {"bias": True, "softcap": 2.0, "scale": 0.7},
}


@pytest.fixture(params=["kept", "computed again"])
def chunked(request, monkeypatch):
    """Three rows at a time, with and without keeping the gradients."""
    monkeypatch.setattr(row_loss, "CHUNK", 3 * 13)
    if request.param != "kept":
        monkeypatch.setattr(row_loss, "KEEP", 0)


def tensors(bias=False):
    generator = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=generator, requires_grad=True)  # noqa: E731
    return make(8, 5), make(13, 5), make(13) if bias else None, make(8).detach()


def differentiate(value, inputs):
    return torch.autograd.grad(value, [t for t in inputs if t is not None])


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("row", ["logp", "kl"])
def test_against_autograd(kind, row, chunked):
    settings = dict(HEADS[kind])
    states, weight, bias, weights = tensors(settings.pop("bias", False))
    head = Projection(weight, bias, **settings)
    targets = torch.arange(8) % 13
    fixed = torch.randn(8, 13, generator=torch.Generator().manual_seed(1))
    logits = (states @ weight.T + (0 if bias is None else bias)) * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    logps = torch.log_softmax(logits, -1)
    if row == "logp":
        ours, plain = row_values(states, head, log_probability(targets)), logps[torch.arange(8), targets]
    else:
        ours = row_values(states, head, divergence_from(lambda at: fixed[at]))
        plain = (fixed.softmax(-1) * (fixed.log_softmax(-1) - logps)).sum(-1)
    assert torch.allclose(ours, plain, atol=1e-5)
    inputs = (states, weight, bias)
    for mine, theirs in zip(
        differentiate((ours * weights).sum(), inputs), differentiate((plain * weights).sum(), inputs), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_logits_instead_of_states(chunked):
    logits = torch.randn(8, 13, requires_grad=True)
    targets = torch.arange(8)
    ours = row_values(logits, None, log_probability(targets)).sum()
    plain = torch.log_softmax(logits, -1)[torch.arange(8), targets].sum()
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(differentiate(ours, [logits])[0], differentiate(plain, [logits])[0], atol=1e-6)


def test_no_rows(chunked):
    states, weight = torch.zeros(0, 5, requires_grad=True), torch.randn(13, 5, requires_grad=True)
    value = row_values(states, Projection(weight), log_probability(torch.zeros(0, dtype=torch.long))).sum()
    grads = differentiate(value, [states, weight])
    assert value.item() == 0 and grads[0].shape == (0, 5) and not grads[1].any()


def test_backward_twice_through_one_graph():
    states, weight, _, weights = tensors()
    value = (row_values(states, Projection(weight), log_probability(torch.arange(8))) * weights).sum()
    first = torch.autograd.grad(value, states, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(value, states)[0], first)


def test_bf16_states_give_fp32_values_near_the_exact_ones():
    states, weight, _, _ = tensors()
    exact = torch.log_softmax(states @ weight.T, -1)[:, 3]
    targets = torch.full((8,), 3)
    rough = row_values(states.bfloat16(), Projection(weight.bfloat16()), log_probability(targets))
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, exact, atol=0.1)
