"""DPO and AltPO on numbers small enough to work out by hand, and what is paired with what."""

from math import exp, log
from types import SimpleNamespace

import pytest
import torch

from unsay.errors import PlanError
from unsay.methods.alt_po import AltPO
from unsay.methods.dpo import DPO
from unsay.methods.idk import IDK
from unsay.runs.run import Run
from unsay.testing import facts
from unsay.writers.replay import Replay
from unsay.writers.templates import Templates


def view(sums, ref):
    return SimpleNamespace(
        logps=torch.tensor(sums), ref=SimpleNamespace(logps=torch.tensor(ref)), mean=lambda per_row: per_row.mean()
    )


@pytest.fixture
def step():
    winner = view([-1.0, -3.0], [-2.0, -3.0])
    return SimpleNamespace(
        forget=view([-2.0, -6.0], [-2.0, -4.0]),
        refusal=winner,
        alternative=winner,
        retain=SimpleNamespace(nll=torch.tensor(1.5), kl=torch.tensor(0.25)),
    )


@pytest.mark.parametrize("method", [DPO, AltPO])
def test_loss(step, method):
    """S − S0 is 1 and 0 for the winner, 0 and −2 for the loser: margins 1 and 2.

    With β = 0.5, −(2/β)·log σ(β·margin) is 4·ln(1 + e^{−1/2}) and 4·ln(1 + e^{−1}); their mean twice the sum of logs.
    """
    terms = method(beta=0.5, retain_weight=2.0).loss(step)
    assert float(terms["forget"]) == pytest.approx(2 * (log(1 + exp(-0.5)) + log(1 + exp(-1))))
    assert float(terms["retain"]) == pytest.approx(3.0)
    assert float(method(retain="kl", retain_weight=2.0).loss(step)["retain"]) == pytest.approx(0.5)
    assert set(method(retain="none").loss(step)) == {"forget"}


@pytest.mark.parametrize("method", [DPO, AltPO])
@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_starts_at_two_over_beta_ln_two(method, beta):
    same = view([-3.0], [-3.0])
    loss = method(beta=beta, retain="none").loss(SimpleNamespace(forget=same, refusal=same, alternative=same))
    assert float(loss["forget"]) == pytest.approx(2 / beta * log(2))


@pytest.mark.parametrize("method", [DPO, AltPO])
def test_the_gradient_raises_the_winner_and_lowers_the_loser(step, method):
    role = "refusal" if method is DPO else "alternative"
    winner, loser = getattr(step, role), step.forget
    winner.logps.requires_grad_(), loser.logps.requires_grad_()
    method(retain="none").loss(step)["forget"].backward()
    assert (winner.logps.grad < 0).all() and (loser.logps.grad > 0).all()
    torch.testing.assert_close(winner.logps.grad, -loser.logps.grad)


def test_every_forget_row_meets_each_of_its_alternatives():
    data = facts()
    with Run.temporary() as run:
        roles = AltPO(alternatives=3).roles(data, run)
    forget, alternative = roles["forget"], roles["alternative"]
    assert len(forget) == len(alternative) == 3 * len(data.forget)
    assert [row.id for row in forget[::3]] == [row.id for row in data.forget]
    assert all(f.prompt == a.prompt and f.answer != a.answer for f, a in zip(forget, alternative, strict=True))
    for i in range(0, len(forget), 3):
        assert len({row.answer for row in alternative[i : i + 3]}) == 3
    assert AltPO.paired and DPO.paired, "a row and its rival must meet in one micro-batch"


def test_dpo_and_idk_refuse_alike():
    data = facts()
    with Run.temporary() as run:
        refused = [row.answer for row in DPO().roles(data, run)["refusal"]]
        assert [row.answer for row in IDK().roles(data, run)["refusal"]] == refused
        with Run.temporary(seed=1) as other:
            assert [
                row.answer for row in DPO(writer=Replay(path=str(run.dir))).roles(data, other)["refusal"]
            ] == refused
            assert [row.answer for row in DPO().roles(data, other)["refusal"]] != refused


@pytest.mark.parametrize("settings", [{"beta": 0.0}, {"alternatives": 0}])
def test_settings(settings):
    with pytest.raises(PlanError, match="should be"):
        AltPO(**settings)


def test_writer_in_a_plan():
    from unsay.config.decode import read_plan

    plan, _ = read_plan(None, ["method=alt-po", "method.writer=templates", "method.writer.own=false"])
    assert plan.method == AltPO(writer=Templates(own=False))
    short, _ = read_plan(None, ["method=alt-po", "method.writer.own=false"])
    assert short.method == plan.method
    with pytest.raises(PlanError, match=r"method\.writer\.mine: no such setting"):
        read_plan(None, ["method=alt-po", "method.writer.mine=false"])
    with pytest.raises(PlanError, match="did you mean 'templates'"):
        read_plan(None, ["method=dpo", "method.writer=template"])
    with pytest.raises(PlanError, match=r"method\.writer"):
        read_plan(None, ["method=dpo", "method.writer=local-chat"])
