"""What an objective may read, and what it gets for an empty role; every family of models."""

import dataclasses

import pytest
import torch

from unsay.config.plan import Adapter
from unsay.errors import MethodError, NeedError
from unsay.models._tiny import FAMILIES
from unsay.models.adapters import attach
from unsay.testing import facts, tiny_lm
from unsay.training.attention import speed_up_attention
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.packed import NAME, is_packed, layout_of, verify
from unsay.training.reference import AdapterOff, CachedLogps, FrozenCopy, adapter_is_fresh
from unsay.training.step import Step, View


def batch_of(lm, forget=4, retain=3, story=""):
    def told(rows):
        return [dataclasses.replace(row, prompt=f"{story}{row.prompt}") for row in rows]

    rows = [encode_rows(told(r), lm.template) for r in (facts().forget[:forget], facts().retain[:retain])]
    return MicroBatch.of({"forget": rows[0], "retain": rows[1]}, lm.template.pad_id)


def step_of(lm, batch, ref=None, layers=()):
    forward = Forward(lm.model, batch, layers)
    return Step({role: View(forward, role, Counts(5, 50), ref) for role in batch.roles})


PACKING = {
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt-neox",
    "phi",
    "phi3",
    "gpt2",
    "gemma3",
}  # gemma2 soft-caps its scores


@pytest.mark.parametrize(("pack", "story"), [(False, ""), (True, ""), (True, "Once there was ")])
@pytest.mark.parametrize("family", FAMILIES)
def test_views_equal_the_network_in_value_and_gradient(family, pack, story):
    lm, plain = tiny_lm(family), tiny_lm(family)
    speed_up_attention(lm, 60, pack=pack)
    assert is_packed(lm.model) == (pack and family in PACKING)
    batch = batch_of(lm, story=story)
    assert layout_of(batch).shared >= len(story)
    step = step_of(lm, batch)
    (step.forget.nll + 2 * step.retain.mean(step.retain.logps)).backward()
    mask = (torch.arange(batch.input_ids.shape[1]) < batch.lengths[:, None]).long()
    logits = plain.model(input_ids=batch.input_ids, attention_mask=mask).logits[:, :-1].float()
    logps = torch.log_softmax(logits, -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    at = torch.arange(logps.shape[1])
    answers = (at >= batch.answer_start[:, None] - 1) & (at < batch.lengths[:, None] - 1)
    logps = logps * answers
    (-logps[:4].sum() / 50 + 2 * logps[4:].sum() / 5).backward()
    assert torch.allclose(step.forget.token_logps, logps[:4], atol=1e-4)
    assert torch.allclose(step.retain.logits, logits[4:][answers[4:]], atol=1e-4)
    ours, theirs = (dict(m.model.named_parameters()) for m in (lm, plain))
    scale = max(float(p.grad.abs().max()) for p in theirs.values() if p.grad is not None)
    for name, parameter in theirs.items():
        if parameter.grad is not None:
            assert torch.allclose(ours[name].grad, parameter.grad, atol=1e-4 * scale), name


@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
def test_hidden_is_what_the_layer_gives(pack):
    lm = tiny_lm()
    batch = batch_of(lm)
    states = lm.model.model(input_ids=batch.input_ids, output_hidden_states=True).hidden_states[2][4:]
    speed_up_attention(lm, 60, pack=pack)
    found = step_of(lm, batch, layers=("model.layers.1",)).retain.hidden("model.layers.1")
    real = torch.arange(states.shape[1]) < batch.lengths[4:, None]
    assert found.shape == states.shape and torch.allclose(found[real], states[real], atol=1e-5)


def test_a_common_beginning_stands_once():
    lm = tiny_lm()
    batch = batch_of(lm, story="Once there was ")
    plain, found = layout_of(batch, share=False), layout_of(batch)
    assert plain.shared == 0 and plain.cells.numel() == int(batch.lengths.sum())
    assert found.cells.numel() == plain.cells.numel() - 6 * found.shared
    line = found.line(batch.input_ids)[0]
    real = torch.arange(batch.input_ids.shape[1]) < batch.lengths[:, None]
    assert torch.equal(line[found.slots][real], batch.input_ids[real])
    assert torch.equal(found.positions[0][found.slots][real], real.cumsum(1)[real] - 1)
    states = lm.model.model(input_ids=batch.input_ids, output_hidden_states=True).hidden_states[2][4:]
    speed_up_attention(lm, 60)
    hidden = step_of(lm, batch, layers=("model.layers.1",)).retain.hidden("model.layers.1")
    assert torch.allclose(hidden[real[4:]], states[real[4:]], atol=1e-5)


def test_with_dropout_nothing_is_shared():
    lm = attach(tiny_lm(), Adapter(rank=2, dropout=0.5))
    speed_up_attention(lm, 60)
    batch = batch_of(lm, story="Once there was ")
    lm.model.eval()
    assert Forward(lm.model, batch)._layout.shared > 0
    lm.model.train()
    assert Forward(lm.model, batch)._layout.shared == 0


def test_a_packed_model_still_takes_ordinary_batches():
    lm, plain = tiny_lm(), tiny_lm()
    lm.set_attention(NAME)
    ids = torch.arange(5, 15).view(2, 5)
    assert torch.allclose(lm.model(input_ids=ids).logits, plain.model(input_ids=ids).logits, atol=1e-5)


def test_windows_shorter_than_the_rows_are_not_packed():
    lm = tiny_lm("mistral", sliding_window=16)
    lm.set_attention(NAME)
    assert verify(lm.model, 16) and not verify(lm.model, 17)


def test_an_empty_role_gives_exact_zeros():
    lm = tiny_lm()
    batch = batch_of(lm, retain=0)
    step = step_of(lm, batch, FrozenCopy(lm.fork().model, ("model.layers.0",)), layers=("model.layers.0",))
    view = step.retain
    assert view.logps.shape == (0,) and view.nll == 0 and view.kl == 0 and view.mean(view.logps) == 0
    assert view.logits.shape[0] == 0 and view.ref.logits.shape == view.logits.shape
    assert view.ref.logps.shape == (0,)
    assert view.hidden("model.layers.0").shape == view.ref.hidden("model.layers.0").shape
    assert view.hidden("model.layers.0").shape[0] == 0


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda s: s.forget.ref, "without declaring"),
        (lambda s: s.refusal, "step.refusal"),
        (lambda s: s.forget.hidden("model.layers.0"), "declares none"),
        (lambda s: s.forget.kl, "without declaring"),
    ],
)
def test_undeclared_reads_are_refused(read, message):
    lm = tiny_lm()
    with pytest.raises(NeedError, match=message):
        read(step_of(lm, batch_of(lm)))


@pytest.mark.parametrize("read", [lambda r: r.logits, lambda r: r.hidden("model.layers.0")], ids=["logits", "hidden"])
def test_a_cache_has_log_probabilities_alone(read):
    lm = tiny_lm()
    batch = batch_of(lm)
    view = step_of(lm, batch).forget
    table = dict(zip(batch.keys, (v[m] for v, m in zip(view.token_logps, view.mask, strict=True)), strict=False))
    cached = step_of(lm, batch, CachedLogps(table)).forget.ref
    assert torch.equal(cached.logps, view.logps)
    with pytest.raises(NeedError, match="only its log-probabilities"):
        read(cached)
    with pytest.raises(NeedError, match="no row"):
        step_of(lm, batch, CachedLogps(table)).retain.ref  # noqa: B018


def test_unknown_layers_are_named():
    lm = tiny_lm()
    with pytest.raises(MethodError, match=r"no layer 'model.layers.77'"):
        step_of(lm, batch_of(lm), layers=("model.layers.77",)).forget.hidden("model.layers.77")


def test_the_reference_carries_no_gradient():
    lm = tiny_lm()
    view = step_of(lm, batch_of(lm), FrozenCopy(lm.fork().model)).forget
    assert view.logps.requires_grad and not view.ref.logps.requires_grad and not view.ref.logits.requires_grad


def test_a_plain_model_is_no_fresh_adapter():
    lm = tiny_lm()
    assert not adapter_is_fresh(lm.model)
    with pytest.raises(MethodError):
        step_of(lm, batch_of(lm), AdapterOff(lm.model)).forget.ref  # noqa: B018
