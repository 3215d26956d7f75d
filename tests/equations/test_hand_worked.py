"""Objectives on numbers small enough to work out by hand; the derivation stands in each docstring.

The views here hold given numbers instead of a model's: two forget answers of 2 and 4 tokens, sums S = −2 and −6.
"""

from math import exp, log
from types import SimpleNamespace

import pytest
import torch

from unsay.methods.extrapolate import Extrapolate
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.idk import IDK
from unsay.methods.kl_min import KLMin
from unsay.methods.npo import NPO
from unsay.methods.sim_npo import SimNPO
from unsay.runs.run import Run
from unsay.testing import facts, tiny_lm


def view(sums, lengths, **more):
    sums, lengths = torch.tensor(sums), torch.tensor(lengths)
    return SimpleNamespace(
        logps=sums, mean_logps=sums / lengths, nll=-sums.sum() / lengths.sum(), mean=lambda x: x.mean(), **more
    )


@pytest.fixture
def step():
    forget = view([-2.0, -6.0], [2, 4], ref=SimpleNamespace(logps=torch.tensor([-2.0, -4.0])))
    return SimpleNamespace(
        forget=forget,
        retain=view([-3.0], [3], kl=torch.tensor(0.25)),
        refusal=view([-1.0, -2.0], [2, 2]),
        train=view([-3.0, -1.0], [3, 1]),
    )


def total(terms):
    return float(terms if isinstance(terms, torch.Tensor) else sum(terms.values()))


def test_grad_ascent(step):
    """NLL over tokens: (2 + 6) / (2 + 4) = 4/3, so L = −4/3. A mean of row means would be (1 + 1.5)/2."""
    assert total(GradAscent().loss(step)) == pytest.approx(-4 / 3)


def test_grad_diff(step):
    """−2 · 4/3 + 0.5 · 1 = −13/6, with γ = 2, α = 0.5 and a retain NLL of 3/3."""
    assert total(GradDiff(forget_weight=2.0, retain_weight=0.5).loss(step)) == pytest.approx(-13 / 6)


def test_kl_min(step):
    """−4/3 + 3 · 0.25 = −7/12."""
    assert total(KLMin(retain_weight=3.0).loss(step)) == pytest.approx(-7 / 12)


def test_npo(step):
    """Ratios r = S_θ − S_θ0 are 0 and −2; with β = 0.5, 4·log(1 + e^{0.5 r}) is 4 ln 2 and 4 ln(1 + 1/e).

    Their mean is 2 (ln 2 + ln(1 + 1/e)); the forgotten row counts less, since e^{βr} < 1.
    """
    terms = NPO(beta=0.5).loss(step)
    assert float(terms["forget"]) == pytest.approx(2 * (log(2) + log(1 + exp(-1))))
    assert float(terms["retain"]) == pytest.approx(1.0)
    assert total(NPO(beta=0.5, retain="kl", retain_weight=2.0).loss(step)) == pytest.approx(
        2 * (log(2) + log(1 + exp(-1))) + 0.5
    )
    assert set(NPO(retain="none").loss(step)) == {"forget"}


def test_sim_npo(step):
    """m = −S/|y| is 1 and 1.5; with β = 2, δ = 0.5, −(2/β)·log σ(β(m − δ)) is ln(1 + e^{−1}) and ln(1 + e^{−2})."""
    terms = SimNPO(beta=2.0, delta=0.5, forget_weight=3.0).loss(step)
    assert float(terms["forget"]) == pytest.approx(3 * (log(1 + exp(-1)) + log(1 + exp(-2))) / 2)
    assert float(terms["retain"]) == pytest.approx(1.0)


def test_idk(step):
    """(1 + 2)/4 on the refusals and 2 · 1 on the retain row."""
    assert total(IDK(retain_weight=2.0).loss(step)) == pytest.approx(2.75)


def test_fine_tune(step):
    """(3 + 1)/(3 + 1) = 1."""
    assert total(FineTune().loss(step)) == pytest.approx(1.0)


class Shift:
    """A method that adds 1 to every weight."""

    def unlearn(self, lm, data, run):
        lm = lm.fork()
        with torch.no_grad():
            for parameter in lm.model.parameters():
                parameter += 1.0
        return lm


@pytest.mark.parametrize(("alpha", "moved"), [(0.5, 1.5), (0.0, 1.0), (-1.0, 0.0), (-3.0, -2.0)])
def test_extrapolate(alpha, moved):
    """θu − θ0 = 1, so θ' − θ0 = 1 + α: 1.5 further, the base itself, nothing, negation."""
    lm = tiny_lm()
    after = Extrapolate(base=Shift(), alpha=alpha).unlearn(lm, facts(), Run.temporary())
    for old, new in zip(lm.model.parameters(), after.model.parameters(), strict=True):
        torch.testing.assert_close(new, old + moved, rtol=0, atol=2e-6)
