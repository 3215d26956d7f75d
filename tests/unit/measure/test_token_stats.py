"""Token statistics against the plain computation: one unpadded forward per text, all logits, float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, LlamaForCausalLM

from unsay.config.plan import Adapter
from unsay.data.example import Message
from unsay.errors import DataError, PlanError
from unsay.measure.texts import Ask
from unsay.measure.token_stats import Sweep, _tried, token_stats
from unsay.measure.vocabulary import vocabulary_stats
from unsay.measure.working import resolve_precision, working
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.adapters import attach, merged
from unsay.models.layers import head_is_plain

ASKS = [
    Ask("Who is Ada Quill?", "Ada Quill is a beekeeper."),
    Ask("Who is Ada Quill?", "Ada Quill is a baker."),
    Ask("Who is Ada Quill?", "Ada Quill is a beekeeper in Lund."),
    Ask("Who is Ada Quill?", "A beekeeper."),
    Ask("Where?", "Lund"),
    Ask("Where?", "L"),
    Ask("", "A plain text of some length."),
    Ask((Message("system", "Be brief."), Message("user", "Where?")), "In Lund."),
]


def naive(lm, ask, max_length=1024):
    encoded = lm.template.encode(*ask).cut(max_length)
    ids = torch.tensor([encoded.input_ids])
    with torch.no_grad():
        logits = lm.model(input_ids=ids).logits[0].double()
    log_p = logits.log_softmax(-1)[encoded.answer_start - 1 : -1]
    gold = log_p[torch.arange(len(log_p)), torch.tensor(encoded.answer_ids)]
    mean = (log_p.exp() * log_p).sum(-1)
    std = (log_p.exp() * (log_p - mean[:, None]) ** 2).sum(-1).sqrt()
    return gold.numpy(), (log_p > gold[:, None]).sum(-1).numpy(), mean.numpy(), std.numpy()


def check(lm, found, asks=ASKS, max_length=1024):
    assert set(found) == set(asks)
    for ask, stats in found.items():
        logp, rank, mean, std = naive(lm, ask, max_length)
        assert stats.text == ask.answer
        np.testing.assert_allclose(stats.logp, logp, atol=1e-5, rtol=0)
        np.testing.assert_allclose(stats.vocab_mean, mean, atol=1e-5, rtol=0)
        np.testing.assert_allclose(stats.vocab_std, std, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(stats.rank, rank)
        assert (stats.logp.dtype, stats.rank.dtype) == (np.float32, np.int32)


def forwards(lm):
    """Input shapes of the forwards that go through `lm` from now on."""
    assert head_is_plain(lm.model)  # looked into once per network, by a forward of its own
    shapes = []
    lm.model.get_input_embeddings().register_forward_hook(lambda m, args, out: shapes.append(tuple(args[0].shape)))
    return shapes


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_plain_computation_in_trees(family):
    settings = {"sliding_window": 512} if "sliding_window" in FAMILIES[family][1] else {}
    lm = tiny_lm(family, **settings)
    shapes = forwards(lm)
    found = token_stats(lm, ASKS, precision="fp32")
    fed = sum(rows * width for rows, width in shapes)
    check(lm, found)
    assert fed < sum(len(lm.template.encode(*ask)) for ask in ASKS)  # else no tree was used


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_sees_no_further_than_a_sliding_window(family):
    check(tiny_lm(family), token_stats(tiny_lm(family), ASKS, precision="fp32"))


@pytest.mark.parametrize("micro_tokens", [1, 60, 100, 5000])
def test_batches_change_nothing(micro_tokens):
    lm = tiny_lm()
    check(lm, token_stats(lm, ASKS, precision="fp32", micro_tokens=micro_tokens))
    check(lm, token_stats(lm, [*reversed(ASKS), ASKS[0]], precision="fp32", micro_tokens=micro_tokens))


def test_adapters_are_measured_merged():
    lm = attach(tiny_lm(), Adapter(rank=2))
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    check(merged(lm), token_stats(lm, ASKS, precision="fp32"))


STORY = "Once upon a time there was a machine that answered. "
SHARED = [Ask(STORY + f"Who is {name}?", f"{name} is a baker{tail}") for name in ("Ada", "Bo", "Cy") for tail in ".!"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_common_beginning_is_read_once(family):
    settings = {"sliding_window": 512} if "sliding_window" in FAMILIES[family][1] else {}
    lm = tiny_lm(family, **settings)
    thrice = sum(len(lm.template.encode(*ask)) for ask in SHARED[::2])
    for asks in (SHARED, SHARED[::2]):  # trees, plain sequences
        shapes = forwards(lm)
        sweep = Sweep(lm, asks)
        batches = list(sweep.run("fp32"))
        assert sum(rows * width for rows, width in shapes) < thrice - len(STORY)
        assert sweep.tokens == sum(batch.tokens for batch in batches)
        check(lm, {ask: s for batch in batches for ask, s in batch.stats.items()}, asks)


@pytest.mark.parametrize("micro_tokens", [1, 30, 5000])
def test_batches_after_a_common_beginning_change_nothing(micro_tokens):
    lm = tiny_lm()
    check(lm, token_stats(lm, SHARED, precision="fp32", micro_tokens=micro_tokens), SHARED)


def test_a_prompt_that_is_the_whole_beginning():
    """Nothing but answers differs: the last token of the prompt is read with each of them."""
    lm = tiny_lm()
    asks = [Ask(STORY, "a"), Ask(STORY, "bc"), Ask(STORY + STORY, "d")]
    check(lm, token_stats(lm, asks, precision="fp32"), asks)


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_common_beginning_beyond_a_sliding_window(family):
    check(tiny_lm(family), token_stats(tiny_lm(family), SHARED, precision="fp32"), SHARED)


def test_a_head_that_is_not_plain_gets_full_logits():
    class Odd(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 0.5
            return out

    lm = tiny_lm()
    odd = Odd(lm.model.config).eval()
    odd.load_state_dict(lm.model.state_dict())
    lm = dataclasses.replace(lm, model=odd)
    check(lm, token_stats(lm, ASKS, precision="fp32"))


def test_a_model_that_takes_no_trees_is_fed_plain_sequences():
    lm = tiny_lm()
    config = BloomConfig(vocab_size=len(lm.tokenizer), hidden_size=32, n_layer=2, n_head=4)  # ALiBi: no 4-D masks
    lm = dataclasses.replace(lm, model=BloomForCausalLM(config).eval())
    check(lm, token_stats(lm, ASKS, precision="fp32"))


def test_a_long_answer_is_scored_up_to_the_limit():
    lm = tiny_lm()
    start = lm.template.encode(*ASKS[0]).answer_start
    sweep = Sweep(lm, ASKS[:4], max_length=start + 15)
    found = {ask: s for batch in sweep.run("fp32") for ask, s in batch.stats.items()}
    check(lm, found, ASKS[:4], start + 15)
    assert sweep.cut == set(ASKS[:3])
    assert len(found[ASKS[0]].logp) == 15


def test_a_prompt_that_leaves_no_room_is_an_error():
    with pytest.raises(DataError, match="2 of 3 prompts leave no room for an answer in 30 tokens"):
        Sweep(tiny_lm(), [Ask("Where?" * 30, "Lund"), Ask("x" * 30, "y"), Ask("", "y")], max_length=30)


def test_totals_are_known_before():
    lm = tiny_lm()
    sweep = Sweep(lm, ASKS)
    assert sweep.tokens == sum(batch.tokens for batch in sweep.run("fp32"))
    assert Sweep(lm, ASKS, skip=ASKS).tokens == 0
    assert list(Sweep(lm, []).run()) == []


def test_padding_is_small_on_mixed_lengths():
    lm = tiny_lm()
    asks = [Ask("q" * (i % 37), "a" * (1 + i % 53)) for i in range(300)]
    shapes = forwards(lm)
    spent = sum(batch.tokens for batch in Sweep(lm, asks).run("fp32"))
    assert spent >= 0.95 * sum(rows * width for rows, width in shapes)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_is_the_model_loaded_in_bf16(family):
    lm = tiny_lm(family)
    twin = dataclasses.replace(lm, model=type(lm.model)(lm.model.config).eval())
    twin.model.load_state_dict(lm.model.state_dict())
    for parameter in twin.model.parameters():
        parameter.data = parameter.data.bfloat16()
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    lm.model.train()
    ids = torch.tensor([lm.template.encode_prompt("Where?")])
    with working(lm, "bf16") as model, torch.no_grad():
        assert model.dtype == torch.bfloat16
        assert not model.model.training
        torch.testing.assert_close(model.model(ids).logits, twin.model(ids).logits, atol=0, rtol=0)
    assert lm.model.training
    for name, parameter in lm.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name])


def test_bf16_statistics_are_close():
    lm = tiny_lm()
    exact, rough = (token_stats(lm, ASKS, precision=p) for p in ("fp32", "bf16"))
    for ask in ASKS:
        assert exact[ask].mean_nll == pytest.approx(rough[ask].mean_nll, rel=0.05)
        assert exact[ask].mean_nll != rough[ask].mean_nll


def test_precision():
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("auto") in ("fp32", "bf16")
    with pytest.raises(PlanError, match="precision is 'fp64'"):
        resolve_precision("fp64")


def test_vocabulary_in_many_chunks(monkeypatch):
    """Positions looked into once, several times and not at all, across chunk borders."""
    monkeypatch.setattr("unsay.measure.vocabulary._HEAD_BYTES", 4 * 50 * 7)
    monkeypatch.setattr("unsay.measure.vocabulary._CACHE_BYTES", 4 * 50 * 3)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 50, generator=generator) * 5
    rows = torch.randint(0, 23, (60,), generator=generator).sort().values
    tokens = torch.randint(0, 50, (60,), generator=generator)
    found = vocabulary_stats(hidden, lambda x: x, rows, tokens)
    log_p = hidden.double().log_softmax(-1)
    gold = log_p[rows, tokens]
    mean = (log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close(found.logp.double(), gold, atol=1e-5, rtol=0)
    assert torch.equal(found.rank, (log_p[rows] > gold[:, None]).sum(-1).int())
    torch.testing.assert_close(found.mean.double(), mean, atol=1e-5, rtol=0)
    std = (log_p.exp() * (log_p - mean[:, None]) ** 2).sum(-1).sqrt()
    torch.testing.assert_close(found.std.double(), std, atol=1e-5, rtol=0)


def test_a_model_without_preferences_does_not_know_the_answer():
    """Equal logits: argmax is the first token, and only it has rank 0. Entropy is ln V and has no spread."""
    found = vocabulary_stats(torch.zeros(2, 8), lambda x: x, torch.tensor([0, 1]), torch.tensor([0, 5]))
    assert found.rank.tolist() == [0, 1]
    assert found.logp.tolist() == pytest.approx([-np.log(8)] * 2)
    assert found.mean.tolist() == pytest.approx([-np.log(8)] * 2)
    assert found.std.tolist() == pytest.approx([0, 0], abs=1e-3)


def test_extreme_logits_stay_finite():
    x = torch.tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4 + 1]])
    found = vocabulary_stats(x, lambda h: h, torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2]))
    assert found.logp.tolist() == pytest.approx([0.0, -2e4, -0.5514], abs=1e-3)
    assert torch.isfinite(found.mean).all() and torch.isfinite(found.std).all()


def test_a_broken_model_says_nothing_about_its_family():
    """Weights that are no numbers are no agreement, and a whole model of the same family is tried anew."""
    broken, whole = tiny_lm(intermediate_size=48), tiny_lm(intermediate_size=48)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    for lm, expected in ((broken, False), (whole, True)):
        with working(lm, "fp32") as model:
            assert all(_tried(model, read) == expected for read in (0, 2))
