"""task-vector, lora-subtraction, iau, influence and eul: the contract, and what each promises beyond it."""

import math
from dataclasses import replace

import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.errors import DataError, MethodError, PlanError
from unsay.methods.eul import EUL
from unsay.methods.fine_tune import FineTune
from unsay.methods.iau import IAU
from unsay.methods.influence import Influence
from unsay.methods.lora_subtraction import LoraSubtraction
from unsay.methods.task_vector import TaskVector
from unsay.models.adapters import adapted, attach, merged
from unsay.runs.run import Run
from unsay.testing import check_method, facts, knowing_lm, mean_nll

TRAIN = Train(lr=3e-3, batch=4, epochs=2, micro_tokens=4096, precision="fp32", checkpoint_every=0)
SMALL = Adapter(rank=4)


def unlearn(method, lm=None, data=None, train=TRAIN, seed=0):
    with Run.temporary(train, seed=seed) as run:
        return method.unlearn(lm or knowing_lm(), data or facts(), run)


def gap(one, other):
    a, b = (merged(lm).model.state_dict() for lm in (one, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(
    "method",
    [
        TaskVector(),
        LoraSubtraction(),
        IAU(),
        Influence(),
        EUL(),
        Influence(scale=1.0, curvature_rows=5),
        EUL(requests_by=""),
    ],
    ids=["task-vector", "lora-subtraction", "iau", "influence", "eul", "influence-scale", "eul-one-request"],
)
def test_contract(method):
    check_method(method, forgets=method != Influence(scale=1.0, curvature_rows=5))


def test_a_negative_scale_is_the_fine_tuned_model():
    tuned = unlearn(FineTune(on="forget"))
    assert unlearn(TaskVector(scale=-1.0)).fingerprint() == tuned.fingerprint()
    assert unlearn(TaskVector(scale=0.0)).fingerprint() == knowing_lm().fingerprint()
    mirrored = unlearn(TaskVector(scale=1.0))
    a, b, c = (dict(lm.model.named_parameters()) for lm in (knowing_lm(), tuned, mirrored))
    for name in a:
        assert torch.allclose(c[name], 2 * a[name] - b[name], atol=1e-6)


def test_a_new_adapter_is_negated_as_weights_are():
    lm = attach(knowing_lm(), SMALL)
    after = unlearn(TaskVector(scale=0.5), lm)
    assert adapted(after.model)
    tuned, start = unlearn(FineTune(on="forget"), lm), knowing_lm()
    a, b, c = (merged(m).model.state_dict() for m in (start, tuned, after))
    assert all(torch.allclose(c[n], a[n] - 0.5 * (b[n] - a[n]), atol=1e-6) for n in a)


def test_lora_subtraction_returns_what_it_was_given():
    plain = unlearn(LoraSubtraction(adapter=SMALL, scale=0.5))
    assert not adapted(plain.model)
    assert gap(unlearn(LoraSubtraction(adapter=SMALL, scale=-0.5)), plain) > 1e-4
    own = unlearn(LoraSubtraction(scale=0.5), attach(knowing_lm(), SMALL))
    assert adapted(own.model) and own.model.peft_config["default"].r == 4
    assert gap(own, unlearn(TaskVector(scale=0.5), attach(knowing_lm(), SMALL))) == 0
    learned = unlearn(FineTune(on="all"), attach(knowing_lm(), SMALL))
    again = unlearn(LoraSubtraction(adapter=SMALL), learned)
    assert not adapted(again.model) and gap(again, learned) > 1e-4


@pytest.mark.parametrize("tolerance", [0.05, 0.5])
def test_iau_keeps_the_retain_bound(tolerance):
    after, data = unlearn(IAU(tolerance=tolerance)), facts()
    rise = mean_nll(after, data.retain) - mean_nll(knowing_lm(), data.retain)
    assert 0.9 * math.log1p(tolerance) < rise <= math.log1p(tolerance) + 1e-5
    assert mean_nll(after, data.forget) > mean_nll(knowing_lm(), data.forget)


def test_iau_steps_along_the_difference_of_the_gradients():
    after, data, lm = unlearn(IAU()), facts(), knowing_lm().fork()
    lm.model.requires_grad_(True)
    total = torch.zeros(())
    for rows, sign in ((data.retain, 1.0), (data.forget, -1.0)):
        nll, tokens = torch.zeros(()), 0
        for row in rows:
            encoded = lm.template.encode(row.prompt, row.answer)
            ids = torch.tensor([list(encoded.input_ids)])
            logps = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
            nll, tokens = nll - logps[encoded.answer_start - 1 :].sum(), tokens + len(logps) - encoded.answer_start + 1
        total = total + sign * nll / tokens
    names = [n for n, p in lm.model.named_parameters()]
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, list(lm.model.parameters()))])
    new, old = (dict(m.model.named_parameters()) for m in (after, lm))
    step = torch.cat([(new[n] - old[n]).detach().reshape(-1) for n in names])
    assert torch.nn.functional.cosine_similarity(step, -gradient, dim=0) > 0.999


def test_iau_samples_the_retain_rows_by_seed():
    few = IAU(ratio=0.5)  # 4 of 12
    assert gap(unlearn(few, seed=1), unlearn(few, seed=1)) == 0
    assert gap(unlearn(few, seed=1), unlearn(few, seed=2)) > 0


@pytest.mark.parametrize("method", [IAU(), Influence()])
def test_no_retain_rows(method):
    with pytest.raises(DataError, match="retain rows"):
        unlearn(method, data=replace(facts(), retain=()))


@pytest.mark.parametrize("curvature", ["fisher", "hessian"])
def test_influence_moves_a_trained_adapter_within_the_bound(curvature):
    lm, data = unlearn(FineTune(on="all"), attach(knowing_lm(), SMALL)), facts()
    before = lm.fingerprint()
    after = unlearn(Influence(curvature=curvature, tolerance=0.2, iterations=15), lm)
    assert lm.fingerprint() == before and adapted(after.model)
    base = {n: t for n, t in lm.model.state_dict().items() if "lora" not in n}
    assert all(torch.equal(after.model.state_dict()[n], t) for n, t in base.items())
    rise = [mean_nll(after, rows) - mean_nll(lm, rows) for rows in (data.forget, data.retain)]
    assert 0.8 * math.log(1.2) < rise[1] <= math.log(1.2) + 1e-5
    assert rise[0] > rise[1]


def test_influence_scale_is_a_ceiling():
    lm = unlearn(FineTune(on="all"), attach(knowing_lm(), SMALL))
    one = unlearn(Influence(scale=1e-3), lm)
    two = unlearn(Influence(scale=2e-3), lm)
    a, b, c = (dict(m.model.named_parameters()) for m in (lm, one, two))
    steps = [torch.cat([(x[n] - a[n]).detach().flatten() for n in a if "lora" in n]) for x in (b, c)]
    assert torch.allclose(2 * steps[0], steps[1], atol=1e-3 * float(steps[1].abs().max()))


def test_negative_curvature_is_noted(monkeypatch):
    import unsay.methods.influence as module

    monkeypatch.setattr(module, "fisher", lambda *args: lambda v: -v)
    lm = unlearn(FineTune(on="all"), attach(knowing_lm(), SMALL))
    with Run.temporary(TRAIN) as run:
        after = Influence(damping=0.5).unlearn(lm, facts(), run)
        assert any("negative curvature" in note for note in run.manifest.notes)
    assert gap(after, lm) > 0, "then the step is along the gradient"


def test_eul_requests_are_groups_of_rows():
    data = facts()
    assert [len(rows) for rows in EUL().requests(data)] == [4, 4]
    assert [len(rows) for rows in EUL(requests_by="").requests(data)] == [8]
    assert [len(rows) for rows in EUL(requests_by="nothing").requests(data)] == [8]


def test_eul_keeps_what_it_was_given():
    fresh = attach(knowing_lm(), SMALL)
    after = unlearn(EUL(), fresh)
    assert adapted(after.model) and after.model.peft_config["default"].r == 8, "two requests of rank 4"
    single = unlearn(EUL(requests_by=""), fresh)
    assert adapted(single.model) and single.model.peft_config["default"].r == 4
    assert not adapted(unlearn(EUL(adapter=SMALL)).model)


def test_eul_caps_what_a_token_can_pull():
    lm, data = knowing_lm(), facts()
    train = replace(TRAIN, epochs=8, schedule="constant")
    nearly_off = unlearn(EUL(limit=1e-6, requests_by="", adapter=SMALL), train=train)
    pulled = unlearn(EUL(requests_by="", adapter=SMALL), train=train)
    assert mean_nll(pulled, data.forget) > mean_nll(nearly_off, data.forget) + 0.1
    assert mean_nll(nearly_off, data.forget) == pytest.approx(mean_nll(lm, data.forget), abs=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IAU(tolerance=0),
        lambda: IAU(ratio=-1),
        lambda: Influence(damping=0),
        lambda: Influence(scale=-1.0),
        lambda: EUL(limit=0),
        lambda: EUL(ridge=0),
    ],
)
def test_settings_out_of_range(make):
    with pytest.raises(PlanError, match="should be positive"):
        make()


def test_the_reference_of_eul_cannot_be_cached():
    with pytest.raises(MethodError, match="cache"):
        unlearn(EUL(), train=replace(TRAIN, reference="cache"))
