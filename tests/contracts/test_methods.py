"""Every method in the folder keeps the contract, and the contract catches methods that do not."""

from dataclasses import dataclass, field

import pytest
import torch

from unsay import registry
from unsay.errors import UnsayError
from unsay.methods.extrapolate import Extrapolate
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.lunar import Lunar
from unsay.methods.npo import NPO
from unsay.testing import check_method, facts, knowing_lm, mean_nll, tiny_lm
from unsay.training.gradient import GradientMethod

NOT_FORGETTING = {"fine-tune", "prompt-guard"}  # by neglect at most; no tiny model obeys a prompt


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty $UNSAY_HOME: reference caches of other tests must not be found."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    tiny_lm().save(folder)
    return folder


TINY = {  # what defaults for real models would take too long to show on two layers
    "rmu": {"layer": "1/2", "span": 2, "parameters": ".", "coefficient": 20.0},
    "adaptive-rmu": {"layer": "1/2", "span": 2, "parameters": "."},
    "lunar": {"layer": "1", "coefficient": 100.0},
    "sat-imp": {"beta1": 1.0, "beta2": 0.5, "forget_weight": 5.0},
}


@pytest.mark.parametrize("name", registry.names("methods"))
def test_contract(name, base_folder):
    settings = {"start": str(base_folder)} if name == "retrain" else TINY.get(name, {})
    method = registry.load("methods", name)(**settings)
    check_method(method, forgets=name not in NOT_FORGETTING)


@pytest.mark.parametrize(
    "method",
    [
        NPO(retain="none"),
        NPO(retain="kl"),
        GradDiff(retain_weight=0.0),
        Extrapolate(base=GradDiff(), alpha=0.3),
        Extrapolate(base=Lunar(**TINY["lunar"]), alpha=0.3),
    ],
    ids=[
        "npo-none",
        "npo-kl",
        "grad-diff-no-retain",
        "extrapolate-grad-diff",
        "extrapolate-lunar",
    ],
)
def test_contract_of_variants(method):
    check_method(method)


def test_the_facts_are_known_and_the_holdout_is_not():
    data = facts()
    assert mean_nll(knowing_lm(), data.forget) < 0.2
    assert mean_nll(knowing_lm(), data.retain) < 0.2
    assert mean_nll(knowing_lm(), data.holdout) > 1.0


@dataclass(frozen=True, kw_only=True)
class _ReadsReference(GradAscent):
    def loss(self, step):
        return -(step.forget.logps - step.forget.ref.logps).sum()


@dataclass(frozen=True, kw_only=True)
class _MeanPerMicroBatch(GradAscent):
    def loss(self, step):
        return step.forget.logps.mean() if len(step.forget.logps) else torch.zeros(())


@dataclass(frozen=True, kw_only=True)
class _InPlace:
    def unlearn(self, lm, data, run):
        with torch.no_grad():
            next(lm.model.parameters()).mul_(1.01)
        return lm.fork()


@dataclass(frozen=True, kw_only=True)
class _Random(GradAscent):
    calls: list = field(default_factory=list, compare=False)

    def loss(self, step):
        self.calls.append(1)
        return -step.forget.nll * len(self.calls)


@dataclass(frozen=True, kw_only=True)
class _Learner(GradientMethod):
    uses_retain = False

    def loss(self, step):
        return step.forget.nll


@dataclass(frozen=True, kw_only=True)
class _Wasteful(GradDiff):
    def loss(self, step):
        return -step.forget.nll


@pytest.mark.parametrize(
    ("method", "clause"),
    [
        (_MeanPerMicroBatch(), "9 "),
        (_Random(), "4 "),
        (_Learner(), "12 "),
        (_Wasteful(), "10 "),
    ],
)
def test_broken_methods_are_caught(method, clause):
    with pytest.raises(UnsayError, match=clause):
        check_method(method)


def test_undeclared_reference_is_caught():
    with pytest.raises(UnsayError, match="without declaring it"):
        check_method(_ReadsReference())


def test_changing_the_input_is_caught():
    state = {n: t.clone() for n, t in knowing_lm().model.state_dict().items()}
    try:
        with pytest.raises(UnsayError, match="2 unlearn changed the model"):
            check_method(_InPlace(), forgets=False)
    finally:
        knowing_lm().model.load_state_dict(state)
