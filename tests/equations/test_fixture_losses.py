"""Loss and global gradient norm of every objective against tests/fixtures/losses, computed elsewhere in float64."""

import json
from pathlib import Path

import pytest
import torch

from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.kl_min import KLMin
from unsay.methods.npo import NPO
from unsay.methods.sim_npo import SimNPO

OURS = {
    "grad-ascent": lambda h: GradAscent(),
    "grad-diff": lambda h: GradDiff(),
    "kl-min": lambda h: KLMin(),
    "npo": lambda h: NPO(beta=h["beta"], retain=h["retain"]),
    "sim-npo": lambda h: SimNPO(beta=h["beta"], delta=h["delta"], forget_weight=h["gamma"], retain_weight=h["alpha"]),
}
EXPECTED = json.loads((Path(__file__).parent.parent / "fixtures" / "losses" / "losses.json").read_text())
CASES = [case for case in EXPECTED if case["objective"] in OURS]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['objective']}-{c['hyperparameters'].get('retain', '')}")
def test_loss_and_gradient(losses, case):
    current, reference = losses.model("cur"), losses.model("ref")
    method = OURS[case["objective"]](case["hyperparameters"])
    step = losses.step(current, reference if method.uses_reference else None)
    loss = losses.total(method.loss(step))
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert losses.grad_norm(current).item() == pytest.approx(case["grad_norm"], rel=1e-5)


def test_every_objective_of_ours_has_a_case():
    assert {case["objective"] for case in CASES} == set(OURS)


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_npo_starts_at_two_over_beta_ln_two(losses, beta):
    """At θ = θ0 the ratio is 0 for every row, and −(2/β)·log σ(0) = (2/β)·ln 2."""
    step = losses.step(losses.model("cur"), losses.model("cur"))
    loss = NPO(beta=beta, retain="none").loss(step)["forget"]
    assert loss.item() == pytest.approx(2 / beta * torch.log(torch.tensor(2.0)).item(), rel=1e-6)


def test_kl_to_itself_is_zero_with_zero_gradient(losses):
    current = losses.model("cur")
    loss = KLMin(forget_weight=0.0).loss(losses.step(current, losses.model("cur")))["retain"]
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert losses.grad_norm(current).item() == pytest.approx(0, abs=1e-5)
