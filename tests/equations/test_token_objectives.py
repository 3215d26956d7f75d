"""Objectives that read whole distributions, on three-word vocabularies worked out by hand."""

from math import log, sqrt
from types import SimpleNamespace

import pytest
import torch

from unsay.combiners.dual import Dual
from unsay.methods._steering import unit
from unsay.methods.adaptive_rmu import AdaptiveRMU
from unsay.methods.ce_u import CEU
from unsay.methods.dto import DTO
from unsay.methods.icu import ICU
from unsay.methods.idk_ap import IDKAP
from unsay.methods.max_entropy import MaxEntropy
from unsay.methods.pdu import PDU
from unsay.methods.rmu import RMU
from unsay.methods.sat_imp import SatImp
from unsay.methods.undial import UNDIAL
from unsay.methods.wga import WGA
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.reference import FrozenCopy
from unsay.training.row_loss import row_values
from unsay.training.step import Step, View

THIRDS = torch.tensor([[0.0, log(2), log(3)]])  # p = 1/6, 2/6, 3/6


def given(logits, targets, ref=None, **more):
    """A view of positions whose logits are given."""
    logits = logits.clone().requires_grad_()
    return SimpleNamespace(
        z=logits,
        targets=torch.tensor(targets),
        token_values=lambda row: row_values(logits, None, row),
        token_mean=lambda x: x.mean(),
        ref_logits=lambda rows: ref[rows],
        **more,
    )


def test_ce_u():
    """Word 2 is true: q = (1/3, 2/3, 0), so L = −(1/3)·ln(1/6) − (2/3)·ln(2/6), and the gradient is p − q."""
    view = given(THIRDS, [2])
    loss = CEU().forget_term(SimpleNamespace(forget=view))
    assert loss.item() == pytest.approx(log(6) / 3 + 2 * log(3) / 3, rel=1e-6)
    loss.backward()
    assert view.z.grad[0].tolist() == pytest.approx([1 / 6 - 1 / 3, 1 / 3 - 2 / 3, 1 / 2], abs=1e-6)


def test_undial():
    """The frozen model has p = (1/6, 2/6, 3/6); word 2 is lowered by ln 3, so q = (1, 2, 1)/4. The model is uniform."""
    view = given(torch.zeros(1, 3), [2], ref=THIRDS)
    loss = UNDIAL(beta=log(3)).forget_term(SimpleNamespace(forget=view))
    assert loss.item() == pytest.approx(log(3), rel=1e-6)
    loss.backward()
    assert view.z.grad[0].tolist() == pytest.approx([1 / 3 - 1 / 4, 1 / 3 - 1 / 2, 1 / 3 - 1 / 4], abs=1e-6)


def test_max_entropy():
    """KL(U ‖ p) = −ln 3 − (1/3)·ln(1/6 · 2/6 · 3/6); 0 for the uniform distribution."""
    loss = MaxEntropy().forget_term(SimpleNamespace(forget=given(THIRDS, [0])))
    assert loss.item() == pytest.approx(-log(3) + log(36) / 3, rel=1e-5)
    assert MaxEntropy().forget_term(SimpleNamespace(forget=given(torch.ones(1, 3), [0]))).item() == pytest.approx(0)


def test_pdu():
    """Logits 0, 1, 5: the largest is 3 above the mean of 2, so L = 9; the gradient is 6·(onehot − 1/3)."""
    view = given(torch.tensor([[0.0, 1.0, 5.0]]), [0])
    loss = PDU().forget_term(SimpleNamespace(forget=view))
    loss.backward()
    assert loss.item() == pytest.approx(9)
    assert view.z.grad[0].tolist() == pytest.approx([-2, -2, 4], abs=1e-5)


def test_the_dual_variable_of_pdu():
    """ε = 1.1 · 2 = 2.2. λ: 1 → max(0, 1 + 0.5·(3 − 2.2)) = 1.4 → max(0, 1.4 + 0.5·(−10)) = 0. None in the warm-up."""
    rule = Dual(rate=0.5, warmup=1.0)
    state = rule.start(SimpleNamespace(nll=lambda role: 2.0))
    assert rule.update({"retain": 3.0}, 1.0, state) == state
    state = rule.update({"retain": 3.0}, 1.5, state)
    assert rule.factors(0, 9, state) == (1.0, pytest.approx(1.4))
    assert rule.factors(0, 9, rule.update({"retain": 2.2 - 10}, 2.0, state)) == (1.0, 0.0)


def logps(*values):
    return torch.tensor([values])


def test_wga_and_sat_imp():
    """p = 1/2 and 1/4. WGA: mean of p·ln p. SatImp with β1 = β2 = 1: mean of p(1−p)·ln p."""
    values = logps(log(1 / 2), log(1 / 4))
    step = SimpleNamespace(forget=SimpleNamespace(token_logps=values, token_mean=lambda x: x.sum() / 2))
    assert WGA().forget_term(step).item() == pytest.approx((log(1 / 2) / 2 + log(1 / 4) / 4) / 2)
    expected = (log(1 / 2) / 4 + log(1 / 4) * 3 / 16) / 2
    assert SatImp(beta1=1.0).forget_term(step).item() == pytest.approx(expected)


def test_the_weights_of_wga_carry_no_gradient():
    values = logps(log(1 / 2)).requires_grad_()
    step = SimpleNamespace(forget=SimpleNamespace(token_logps=values, token_mean=lambda x: x.sum()))
    WGA().forget_term(step).backward()
    assert values.grad.item() == pytest.approx(0.5)  # p; with the weight's gradient it would be p·(1 + ln p)


def test_idk_ap():
    """Answer preservation: S(answer) = −1, S(refusal) = −3, β = 2: −(1/2)·ln σ(4). The refusal's NLL is 0.5."""
    retain = SimpleNamespace(logps=torch.tensor([-1.0]), mean=lambda x: x.mean())
    refusal, other = SimpleNamespace(nll=torch.tensor(0.5)), SimpleNamespace(logps=torch.tensor([-3.0]))
    step = SimpleNamespace(retain=retain, retain_refusal=other, refusal=refusal)
    terms = IDKAP(beta=2.0, retain_weight=3.0).loss(step)
    assert terms["forget"].item() == pytest.approx(0.5)
    assert terms["retain"].item() == pytest.approx(3 * -0.5 * log(1 / (1 + 2.718281828**-4)), rel=1e-5)


def test_dto():
    """Of two tokens the first is a target: −NLL = −2 there, KL = 0.3 on the other."""
    view = SimpleNamespace(nll=torch.tensor(2.0), token_kl=torch.tensor([0.9, 0.3]), rest_mean=lambda x: x[1])
    terms = DTO(hold_weight=10.0).loss(SimpleNamespace(forget=view))
    assert terms == {"forget": torch.tensor(-2.0), "held": pytest.approx(3.0)}


def test_icu():
    """−1·2 + 0.5·1 + 1·0.25."""
    neighbour = SimpleNamespace(nll=torch.tensor(1.0), kl=torch.tensor(0.25))
    terms = ICU().loss(SimpleNamespace(forget=SimpleNamespace(nll=torch.tensor(2.0)), neighbour=neighbour))
    assert sum(terms.values()).item() == pytest.approx(-1.25)


@pytest.mark.parametrize("method", [RMU(coefficient=2.0), AdaptiveRMU(beta=0.5)])
def test_rmu_at_the_start(method):
    """One position with h = (3, 4): c·u = 2u for RMU, β·‖h‖·u = 2.5·u for adaptive RMU; the retain drift is 0."""
    h = torch.tensor([[[3.0, 4.0]]])
    frozen = SimpleNamespace(hidden=lambda layer: h)
    view = SimpleNamespace(hidden=lambda layer: h, hidden_mean=lambda x: x.mean(), ref=frozen, drift=lambda layer: 0.0)
    length = 2.0 if isinstance(method, RMU) else 2.5
    a, b = (length * unit(2, 0)).tolist()
    terms = method.loss(SimpleNamespace(forget=view, retain=view))
    assert terms["forget"].item() == pytest.approx(((3 - a) ** 2 + (4 - b) ** 2) / 2, rel=1e-6)
    assert terms["retain"] == 0 and sqrt(a**2 + b**2) == pytest.approx(length)


def test_undial_reads_answer_tokens_alone():
    """Against the full logits of the network: prompt positions and padding, whatever their labels, play no part."""
    lm, frozen = knowing_lm(), knowing_lm().fork()
    with torch.no_grad():
        for parameter in frozen.model.parameters():
            parameter.mul_(0.9)
    rows = encode_rows(facts().forget, lm.template)
    batch = MicroBatch.of({"forget": rows}, lm.template.pad_id)
    step = Step({"forget": View(Forward(lm.model, batch), "forget", Counts.of(rows), FrozenCopy(frozen.model))})
    with torch.no_grad():
        ours = UNDIAL(beta=4.0).forget_term(step)
        values = []
        for row in rows:
            ids = torch.tensor([row.tokens.input_ids])
            z, p = frozen.model(input_ids=ids).logits[0], lm.model(input_ids=ids).logits[0].log_softmax(-1)
            for t in range(row.tokens.answer_start, row.length):
                q = z[t - 1].clone()
                q[ids[0, t]] -= 4.0
                values.append(-(q.softmax(-1) * p[t - 1]).sum())
    assert ours.item() == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)


def test_rmu_changes_only_the_parameters_it_names():
    lm = knowing_lm()
    method = RMU(layer="1", span=1)
    with Run.temporary() as run:
        after = method.unlearn(lm, facts(), run)
    old, new = dict(lm.model.named_parameters()), dict(after.model.named_parameters())
    assert {n for n in new if not torch.equal(old[n], new[n])} == {"model.layers.1.mlp.down_proj.weight"}
    assert all(p.requires_grad for p in new.values())
