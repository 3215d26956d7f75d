"""Banned tokens and a temperature: the same probabilities as by hand, on every kind of model."""

import dataclasses

import pytest
import torch

from unsay.config.plan import Adapter
from unsay.errors import MethodError, ModelError
from unsay.measure.generations import generate
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.models.adapters import attach
from unsay.models.decoding import Decoding, with_decoding
from unsay.models.layers import head_is_plain
from unsay.models.patches import underlying, unpatched, with_guard, with_offset
from unsay.testing import tiny_lm

ASKS = [Ask("Who is it?", "Ada Moor"), Ask("Who is it?", "Bo"), Ask("Where?", "in Oslo")]
BANNED = (3, 40, 41)


def models():
    lora = attach(tiny_lm(), Adapter(rank=2))
    with torch.no_grad():
        for name, parameter in lora.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    offset = with_offset(tiny_lm(), 1.0, Adapter(rank=2))
    return {"llama": tiny_lm(), "gemma2": tiny_lm("gemma2"), "lora": lora, "offset": offset}


def by_hand(lm, ask, temperature, banned):
    """[T] log-probabilities of the answer's tokens."""
    whole = lm.template.encode(*ask)
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([whole.input_ids])).logits[0].double() / temperature
    logits[:, list(banned)] = -torch.inf
    logp = logits.log_softmax(-1)[whole.answer_start - 1 : -1]
    return logp.gather(1, torch.tensor(whole.answer_ids)[:, None])[:, 0]


@pytest.mark.parametrize("kind", ["llama", "gemma2", "lora", "offset"])
@pytest.mark.parametrize(("temperature", "banned"), [(1.0, BANNED), (0.5, ()), (3.0, BANNED)])
def test_probabilities(kind, temperature, banned):
    lm = models()[kind]
    before = lm.fingerprint()
    changed = with_decoding(lm, banned, temperature)
    assert head_is_plain(changed.model) == (kind in ("llama", "lora"))  # a soft cap comes after the head
    found = token_stats(changed, ASKS, precision="fp32")
    for ask in ASKS:
        expected = by_hand(lm, ask, temperature, banned)
        usual = expected.isfinite()
        got = torch.tensor(found[ask].logp).double()
        assert torch.allclose(got[usual], expected[usual], atol=1e-4)
        assert (got[~usual] < -5e3).all() and got.isfinite().all()
    assert lm.fingerprint() == before != changed.fingerprint()


@pytest.mark.parametrize("kind", ["llama", "gemma2", "offset"])
def test_banned_tokens_are_never_written(kind):
    lm = models()[kind]
    prompts = {ask.prompt: 12 for ask in ASKS}
    free = generate(lm, prompts, precision="fp32")
    said = {i for text in free.values() for i in lm.tokenizer(text, add_special_tokens=False)["input_ids"]}
    assert said
    other = generate(with_decoding(lm, sorted(said)), prompts, precision="fp32")
    ids = {i for text in other.values() for i in lm.tokenizer(text, add_special_tokens=False)["input_ids"]}
    assert ids and not ids & said
    assert generate(with_decoding(lm), prompts, precision="fp32") == free


def test_it_can_be_dropped_and_put_on_other_patches(tmp_path):
    lm = with_guard(with_offset(tiny_lm(), 1.0, Adapter(rank=2)), "Be brief.")
    changed = with_decoding(with_decoding(lm, BANNED), (5,))
    assert changed.patches == (*lm.patches, Decoding(BANNED), Decoding((5,)))
    assert unpatched(changed).fingerprint() == unpatched(lm).fingerprint()
    assert underlying(changed).model is not changed.model
    with pytest.raises(ModelError, match="Decoding"):
        with_decoding(tiny_lm(), BANNED).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_bf16_and_a_vocabulary_that_ends_earlier():
    lm = tiny_lm()
    found = token_stats(with_decoding(lm, (*BANNED, 5000)), ASKS, precision="bf16")
    expected = token_stats(with_decoding(lm, BANNED), ASKS, precision="fp32")
    for ask in ASKS:
        assert found[ask].logp == pytest.approx(expected[ask].logp, rel=0.05, abs=0.3)


def test_settings_are_checked():
    with pytest.raises(MethodError, match="temperature"):
        with_decoding(tiny_lm(), temperature=0.0)
    with pytest.raises(MethodError, match="banned"):
        with_decoding(tiny_lm(), range(200))
    assert dataclasses.is_dataclass(Decoding)
