"""Value and gradient over all rows: autograd's own, however the rows are split; steps that can be taken back."""

import signal

import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.errors import CollapseError, DataError, Interrupted, MethodError
from unsay.models.adapters import attach
from unsay.runs.run import Run
from unsay.testing import facts, tiny_lm
from unsay.training.full_gradient import (
    encode_roles,
    flat,
    full_gradient,
    norm,
    place,
    row_gradients,
    sample,
    total_loss,
    trainable,
    unflat,
    working_copy,
)


@pytest.fixture
def run():
    with Run.temporary(Train(micro_tokens=4096)) as run:
        yield run


def objective(step):
    return {"up": -0.5 * step.forget.nll, "down": step.retain.mean(-step.retain.logps)}


def direct(lm, data):
    """The same number from the network's own logits, row by row."""
    total = torch.zeros(())
    tokens = sum(len(lm.template.encode(r.prompt, r.answer).input_ids) for r in data.forget) - sum(
        lm.template.encode(r.prompt, r.answer).answer_start for r in data.forget
    )
    for role, rows in (("forget", data.forget), ("retain", data.retain)):
        for row in rows:
            encoded = lm.template.encode(row.prompt, row.answer)
            ids = torch.tensor([list(encoded.input_ids)])
            logps = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            answer = logps.gather(-1, ids[0, 1:, None])[encoded.answer_start - 1 :, 0].sum()
            total = total + (0.5 * answer / tokens if role == "forget" else -answer / len(rows))
    return total


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # packed rows, and padded ones
@pytest.mark.parametrize("lora", [False, True])
def test_it_is_autograd_whatever_the_split(run, family, lora):
    lm, data = tiny_lm(family), facts()
    if lora:
        lm = attach(lm, Adapter(rank=2))
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in lm.model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    value = direct(lm, data)
    names = list(trainable(lm))
    assert all("lora" in name for name in names) == lora
    wanted = torch.autograd.grad(value, list(trainable(lm).values()))
    rows = encode_roles(lm, {"forget": data.forget, "retain": data.retain}, run)
    for micro_tokens in (100_000, 150, 1):
        part = run.sub(f"m{micro_tokens}", train=Train(micro_tokens=micro_tokens))
        with working_copy(lm, rows) as subject:
            found = full_gradient(subject, rows, objective, part)
            assert total_loss(subject, rows, objective, part) == pytest.approx(value.item(), rel=1e-5)
        assert list(found) == names
        scale = max(float(g.abs().max()) for g in wanted)
        for name, gradient in zip(names, wanted, strict=True):
            assert (found[name] - gradient).abs().max() < 1e-5 * scale, (name, micro_tokens)
        assert all(p.grad is None for p in subject.model.parameters())
        assert subject.attention == lm.attention


def test_row_gradients_add_up(run):
    lm = tiny_lm()
    rows = encode_roles(lm, {"rows": facts().forget}, run)
    with working_copy(lm, rows) as subject:
        each = row_gradients(subject, rows["rows"], lambda step: -step.rows.logps.sum(), run)
        whole = flat(full_gradient(subject, rows, lambda step: -step.rows.logps.sum(), run))
        one = row_gradients(subject, rows["rows"][:1], lambda step: step.rows.nll, run)
    assert each.shape == (8, whole.numel())
    assert torch.allclose(each.sum(0), whole, atol=1e-5 * float(whole.abs().max()))
    assert torch.allclose(one[0] * rows["rows"][0].answer_tokens, each[0], atol=1e-5 * float(whole.abs().max()))


def test_place_goes_back_exactly():
    lm = tiny_lm()
    subject = lm.fork()
    direction = {name: torch.randn_like(p) for name, p in trainable(subject).items()}
    place(subject, lm, direction, 0.3)
    name = next(iter(direction))
    assert torch.equal(
        dict(subject.model.named_parameters())[name], dict(lm.model.named_parameters())[name] + 0.3 * direction[name]
    )
    place(subject, lm, direction, 0.0)
    assert subject.fingerprint() == lm.fingerprint()


def test_flat_and_back():
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    vector = flat(tensors)
    back = unflat(vector.double(), tensors)
    assert all(torch.equal(back[n], t) for n, t in tensors.items())
    assert norm(tensors) == pytest.approx(float(vector.norm()))


def test_sample_keeps_order_and_is_seeded():
    rows = list(range(100))
    some = sample(rows, 10, 3)
    assert some == sorted(some) == sample(rows, 10, 3) and len(set(some)) == 10
    assert some != sample(rows, 10, 4)
    assert sample(rows, 100, 0) == rows


class Counting:
    """A reporter that adds up."""

    def __init__(self):
        self.bars = []

    def task(self, label, total, unit):
        self.bars.append([label, total, 0])
        return self

    def advance(self, n=1):
        self.bars[-1][2] += n

    def finish(self):
        pass


def test_it_shows_progress_and_stops_when_asked():
    shown, lm = Counting(), tiny_lm()
    with Run.temporary(Train(micro_tokens=60), reporter=shown) as run:
        rows = encode_roles(lm, {"forget": facts().forget, "retain": facts().retain}, run)
        with working_copy(lm, rows) as subject:
            full_gradient(subject, rows, objective, run, "all rows")
            total_loss(subject, rows, objective, run, label="")
            assert shown.bars == [["all rows", 20, 20]]
            calls = []

            def asked(step):
                calls.append(1)
                run._shared.signals.received = signal.SIGTERM
                return objective(step)

            with pytest.raises(Interrupted):
                full_gradient(subject, rows, asked, run)
            assert len(calls) == 1
            run._shared.signals.received = None


def test_errors(run):
    lm = tiny_lm()
    with pytest.raises(DataError, match="needs retain rows"):
        encode_roles(lm, {"forget": facts().forget, "retain": []}, run)
    frozen = lm.fork()
    frozen.model.requires_grad_(False)
    with pytest.raises(MethodError, match="trainable"):
        trainable(frozen)
    rows = encode_roles(lm, {"forget": facts().forget}, run)
    with working_copy(lm, rows) as subject, pytest.raises(CollapseError):
        full_gradient(subject, rows, lambda step: step.forget.nll * float("inf"), run)
