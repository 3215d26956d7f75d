"""The solve returns H⁻¹b (not twice it); products are those of the Fisher and the Hessian of a tiny model."""

import numpy as np
import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.errors import MethodError
from unsay.models.adapters import attach
from unsay.runs.run import Run
from unsay.testing import facts, tiny_lm
from unsay.training.curvature import conjugate_gradient, fisher, hessian
from unsay.training.full_gradient import encode_roles, flat, full_gradient, mean_nll, trainable, unflat, working_copy

RNG = np.random.default_rng(0)


def positive(size=12):
    a = RNG.normal(size=(size, size))
    return a @ a.T + 0.5 * np.eye(size)


def test_a_quadratic_is_solved_exactly():
    h, b = positive(), RNG.normal(size=12)
    found = conjugate_gradient(lambda v: h @ v, b, tolerance=1e-12, iterations=100)
    assert found.ended == "converged"
    assert np.allclose(found.x, np.linalg.solve(h, b), rtol=1e-8)
    damped = conjugate_gradient(lambda v: h @ v, b, damping=0.7, tolerance=1e-12, iterations=100)
    assert np.allclose(damped.x, np.linalg.solve(h + 0.7 * np.eye(12), b), rtol=1e-8)


def test_it_counts_and_gives_up():
    h, b, calls = positive(), RNG.normal(size=12), []
    found = conjugate_gradient(lambda v: calls.append(1) or h @ v, b, tolerance=1e-12, iterations=3)
    assert (found.iterations, found.ended, len(calls)) == (3, "iterations", 3)


def test_negative_curvature_stops_at_the_last_iterate():
    h = np.diag([4.0, 2.0, -1.0])
    b = np.array([1.0, 1.0, 0.1])
    found = conjugate_gradient(lambda v: h @ v, b, tolerance=1e-12)
    assert found.ended == "negative curvature" and found.iterations > 0
    quadratic = 0.5 * found.x @ h @ found.x - b @ found.x
    assert quadratic < 0 and np.abs(found.x).max() < 10, "the step before, not one that blows up"
    assert conjugate_gradient(lambda v: h @ v, b, damping=1.5, tolerance=1e-12).ended == "converged"
    at_once = conjugate_gradient(lambda v: -v, b)
    assert (at_once.iterations, at_once.ended) == (0, "negative curvature") and not at_once.x.any()


def test_products_that_are_not_finite():
    with pytest.raises(MethodError, match="not finite"):
        conjugate_gradient(lambda v: v * np.nan, np.ones(3))


@pytest.fixture
def run():
    with Run.temporary(Train(micro_tokens=4096)) as run:
        yield run


def adapted(lm):
    lm = attach(lm, Adapter(rank=2, targets=("q_proj",)), seed=1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return lm


def direct_loss(lm, rows, values):
    """Mean NLL over answer tokens as a function of the adapter, differentiable twice."""
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        encoded = lm.template.encode(row.prompt, row.answer)
        ids = torch.tensor([list(encoded.input_ids)])
        out = torch.func.functional_call(lm.model, values, (), {"input_ids": ids}).logits[0, :-1].log_softmax(-1)
        picked = out.gather(-1, ids[0, 1:, None])[encoded.answer_start - 1 :, 0]
        total, tokens = total - picked.sum(), tokens + len(picked)
    return total / tokens


def test_hessian_products_are_those_of_double_backward(run):
    lm = adapted(tiny_lm())
    rows = encode_roles(lm, {"rows": facts().forget[:3]}, run)
    with working_copy(lm, rows) as subject:
        apply = hessian(subject, lm, rows["rows"], run)
        v = RNG.normal(size=sum(p.numel() for p in trainable(lm).values()))
        found = apply(v)
        assert subject.fingerprint() == lm.fingerprint(), "put back"
        assert np.allclose(apply(3 * v), 3 * found, rtol=1e-3, atol=1e-3 * np.abs(found).max())
        assert not apply(np.zeros_like(v)).any()
    exact = lm.fork()
    exact.model.double()
    exact.set_attention("eager")  # fused attention has no second derivative
    values = {name: p.detach().requires_grad_() for name, p in trainable(exact).items()}
    loss = direct_loss(exact, facts().forget[:3], values)
    gradient = torch.autograd.grad(loss, list(values.values()), create_graph=True)
    along = unflat(torch.from_numpy(v), values)
    dot = sum((g * along[n]).sum() for n, g in zip(values, gradient, strict=True))
    wanted = flat(dict(zip(values, torch.autograd.grad(dot, list(values.values())), strict=True))).numpy()
    assert np.linalg.norm(found - wanted) < 2e-2 * np.linalg.norm(wanted)


def test_fisher_is_the_sum_of_outer_products(run):
    lm = adapted(tiny_lm())
    rows = encode_roles(lm, {"rows": facts().forget[:3]}, run)["rows"]
    with working_copy(lm, {"rows": rows}) as subject:
        scores = []
        for row in rows:
            gradient = full_gradient(subject, {"rows": [row]}, mean_nll("rows"), run)
            scores.append(flat(gradient).double().numpy() * row.answer_tokens)
        apply = fisher(subject, rows, run)
    dense = sum(np.outer(s, s) for s in scores) / sum(row.answer_tokens for row in rows)
    v = RNG.normal(size=len(dense))
    assert np.allclose(apply(v), dense @ v, atol=1e-4 * np.abs(dense @ v).max())
    b = scores[0]
    found = conjugate_gradient(apply, b, damping=0.1, tolerance=1e-6)
    wanted = np.linalg.solve(dense + 0.1 * np.eye(len(dense)), b)
    assert np.linalg.norm(found.x - wanted) < 1e-3 * np.linalg.norm(wanted)
