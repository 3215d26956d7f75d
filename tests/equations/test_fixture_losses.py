"""Loss and global gradient norm of every objective against tests/fixtures/losses, computed elsewhere in float64."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unsay.methods import _steering
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.kl_min import KLMin
from unsay.methods.max_entropy import MaxEntropy
from unsay.methods.npo import NPO
from unsay.methods.rmu import RMU
from unsay.methods.sat_imp import SatImp
from unsay.methods.sim_npo import SimNPO
from unsay.methods.undial import UNDIAL
from unsay.methods.wga import WGA

OURS = {
    "grad-ascent": lambda h: GradAscent(),
    "grad-diff": lambda h: GradDiff(),
    "kl-min": lambda h: KLMin(),
    "npo": lambda h: NPO(beta=h["beta"], retain=h["retain"]),
    "undial": lambda h: UNDIAL(beta=h["beta"]),
    "max-entropy": lambda h: MaxEntropy(forget_weight=h["gamma"], retain_weight=h["alpha"]),
    "wga": lambda h: WGA(beta=h["beta"], retain_weight=h["alpha"]),
    "sat-imp": lambda h: SatImp(beta1=h["beta1"], beta2=h["beta2"], forget_weight=h["gamma"], retain_weight=h["alpha"]),
    "sim-npo": lambda h: SimNPO(beta=h["beta"], delta=h["delta"], forget_weight=h["gamma"], retain_weight=h["alpha"]),
}
FOLDER = Path(__file__).parent.parent / "fixtures" / "losses"
CASES = json.loads((FOLDER / "losses.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['objective']}-{c['hyperparameters'].get('retain', '')}")
def test_loss_and_gradient(losses, case):
    current, reference = losses.model("cur"), losses.model("ref")
    method = OURS[case["objective"]](case["hyperparameters"])
    step = losses.step(current, reference if method.uses_reference else None)
    loss = losses.total(method.loss(step))
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert losses.grad_norm(current).item() == pytest.approx(case["grad_norm"], rel=1e-5)


def test_rmu(losses, monkeypatch):
    """7.088 at layer 1, c = 2, α = 1; dividing every row's sum by every row's count would give 7.428."""
    control = load_file(FOLDER / "rmu_control_unit.safetensors")
    monkeypatch.setattr(_steering, "unit", lambda width, seed: next(iter(control.values())).flatten())
    method = RMU(layer="1", coefficient=2.0)
    step = losses.step(losses.model("cur"), losses.model("ref"), layers=method.layers)
    assert losses.total(method.loss(step)).item() == pytest.approx(7.088, abs=5e-4)


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
