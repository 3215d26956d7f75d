"""The closed forms against the systems they solve, in float64."""

import pytest
import torch

from unsay.editing.basis import energy, null_basis
from unsay.editing.solve import dual, held, level, one_by_one, project, redirect, whiten
from unsay.errors import MethodError

D_IN, D_OUT, N, M = 24, 7, 5, 3


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def gap(one, other):
    return float((one - other).abs().max() / other.abs().max())


def test_dual_is_alpha_edits_primal_solve(rng):
    keys, residuals = normal(rng, N, D_IN), normal(rng, N, D_OUT)
    earlier = normal(rng, M, D_IN)
    basis = torch.linalg.qr(normal(rng, D_IN, 9))[0]
    p = basis @ basis.T
    unit = float(torch.einsum("ni,ij,nj->n", keys, p, keys).mean())
    assert level(keys, project(keys, basis)) == pytest.approx(unit, rel=1e-12)
    found = held(keys, residuals, earlier, 0.3 * unit, lambda k: project(k, basis))
    k, k_p = keys.T, earlier.T
    primal = torch.linalg.solve(
        p @ (k @ k.T + k_p @ k_p.T) + 0.3 * unit * torch.eye(D_IN, dtype=torch.float64), p @ k @ residuals
    ).T
    assert gap(found, primal) < 1e-10


def test_dual_is_memits_primal_solve(rng):
    keys, residuals = normal(rng, N, D_IN), normal(rng, N, D_OUT)
    texts = normal(rng, 200, D_IN)
    moment = texts.T @ texts / 200
    image = whiten(keys, moment, damping=0.0)
    found = dual(keys, image, residuals, 0.7)
    primal = residuals.T @ keys @ torch.linalg.inv(0.7 * moment + keys.T @ keys)
    assert gap(found, primal) < 1e-10


def test_keys_outside_the_basis_do_not_notice(rng):
    keys, residuals = normal(rng, N, D_IN), normal(rng, N, D_OUT)
    full = torch.linalg.qr(normal(rng, D_IN, D_IN))[0]
    basis, others = full[:, :9], full[:, 9:].T
    change = held(keys, residuals, None, 0.1, lambda k: project(k, basis))
    assert float((change @ others.T).abs().max()) < 1e-12 * float(change.abs().max())
    assert float((change @ keys.T).abs().max()) > 0.1, "the keys themselves do"


def test_earlier_keys_are_held(rng):
    keys, residuals, earlier = normal(rng, N, D_IN), normal(rng, N, D_OUT), normal(rng, M, D_IN)
    basis = torch.eye(D_IN, dtype=torch.float64)
    free = held(keys, residuals, None, 1e-9, lambda k: project(k, basis))
    bound = held(keys, residuals, earlier, 1e-9, lambda k: project(k, basis))
    assert float((free @ earlier.T).abs().max()) > 0.1
    assert float((bound @ earlier.T).abs().max()) < 1e-6
    assert gap(bound @ keys.T, residuals.T) < 1e-6


def test_rome_writes_one_request_exactly_and_is_least_in_its_metric(rng):
    keys, residuals = normal(rng, 1, D_IN), normal(rng, 1, D_OUT)
    moment = torch.diag(torch.rand(D_IN, generator=rng, dtype=torch.float64) + 0.5)
    change = one_by_one(keys, whiten(keys, moment, damping=0.0), residuals)
    assert gap(change @ keys.T, residuals.T) < 1e-12
    # Any other exact solution costs more: tr(Δ C Δᵀ).
    other = change + torch.outer(normal(rng, D_OUT), torch.linalg.svd(keys)[2][1])
    assert torch.trace(change @ moment @ change.T) < torch.trace(other @ moment @ other.T)


def test_rome_later_requests_win(rng):
    key, residuals = normal(rng, 1, D_IN), normal(rng, 2, D_OUT)
    keys = torch.cat([key, key])
    change = one_by_one(keys, keys, residuals)
    assert gap(change @ key[0], residuals[1]) < 1e-12


def test_lunar_is_least_squares_and_of_rank_one(rng):
    forget, retain, direction = normal(rng, 40, D_IN), normal(rng, 60, D_IN), normal(rng, D_OUT)
    ridge = 0.2
    found = redirect(forget.sum(0), forget.T @ forget, retain.T @ retain, direction, ridge)
    inputs = torch.cat([forget, retain, ridge**0.5 * torch.eye(D_IN, dtype=torch.float64)])
    wanted = torch.zeros(len(inputs), D_OUT, dtype=torch.float64)
    wanted[:40] = direction
    least = torch.linalg.lstsq(inputs, wanted).solution.T
    assert gap(found, least) < 1e-10
    assert int(torch.linalg.matrix_rank(found)) == 1


def test_keys_that_repeat_need_a_ridge(rng):
    keys = torch.ones(2, D_IN, dtype=torch.float64)
    with pytest.raises(MethodError, match="ridge"):
        dual(keys, keys, normal(rng, 2, D_OUT), 0.0)


def test_the_null_space_holds_at_most_its_share(rng):
    root = normal(rng, D_IN, D_IN) * torch.logspace(0, -3, D_IN, dtype=torch.float64)
    moment = root.T @ root
    for share in (0.001, 0.02, 0.3):
        basis = null_basis(moment, share)
        inside = torch.trace(basis.T @ moment @ basis) / torch.trace(moment)
        assert inside <= share + 1e-12
        assert energy(moment, basis) == pytest.approx(float(inside))
        assert gap(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64)) < 1e-10
        more = null_basis(moment, 1.0)[:, : basis.shape[1] + 1]
        assert torch.trace(more.T @ moment @ more) / torch.trace(moment) > share, "one more direction is too much"


def test_the_null_space_by_eigenvalue():
    moment = torch.diag(torch.tensor([1.0, 0.5, 0.019, 0.001], dtype=torch.float64))
    basis = null_basis(moment, 0.5, cutoff=0.02)
    assert basis.shape == (4, 2)
    assert float(basis[:2].abs().max()) < 1e-12
    with pytest.raises(MethodError, match="null space is empty"):
        null_basis(moment, 0.5, cutoff=1e-4)
