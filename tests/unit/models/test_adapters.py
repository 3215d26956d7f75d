"""LoRA: attached without touching the base, off = reference, merged, saved either way, scaled."""

import json

import pytest
import torch
from torch import nn

from unsay.config.plan import Adapter, ModelSpec
from unsay.errors import DamagedError, MethodError, ModelError
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.adapters import attach, base_of, merged, reference_disabled, scale_adapter
from unsay.models.lm import LM
from unsay.models.weights import extrapolate

IDS = torch.arange(4, 60)[None]


def trained(lm: LM, **settings) -> LM:
    """An adapter as training would leave it: B away from 0."""
    after = attach(lm, Adapter(**({"rank": 4} | settings)))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(9)
        for name, parameter in after.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return after


def logits(lm: LM) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(input_ids=IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_attach_merge_and_off(family):
    lm = tiny_lm(family)
    name, before = lm.fingerprint(), logits(lm)
    fresh = attach(lm, Adapter(rank=4))
    assert torch.equal(logits(fresh), before), "B starts at 0"
    assert all(p.requires_grad for p in lm.model.parameters()), "the given model is left as it was"
    trainable = [n for n, p in fresh.model.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in n for n in trainable)
    assert not any("lm_head" in n or "embed_out" in n for n in trainable)

    after = trained(lm)
    moved = logits(after)
    assert (moved - before).abs().max() > 1e-3
    with reference_disabled(after.model):
        assert torch.equal(logits(after), before)
    assert torch.equal(logits(after), moved), "on again"
    plain = merged(after)
    torch.testing.assert_close(logits(plain), moved, atol=2e-5, rtol=1e-4)
    assert type(plain.model) is type(lm.model)
    assert torch.equal(logits(after), moved), "merging copies"
    assert base_of(after).fingerprint() == name == lm.fingerprint()


def test_adapter_weights_depend_on_the_seed_alone():
    lm = tiny_lm()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = attach(lm, Adapter(rank=2), seed=4).fingerprint()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert attach(lm, Adapter(rank=2), seed=4).fingerprint() == first
    assert attach(lm, Adapter(rank=2), seed=5).fingerprint() != first


def test_training_the_adapter_leaves_the_shared_base():
    lm = tiny_lm()
    name = lm.fingerprint()
    after = attach(lm, Adapter(rank=2))
    optimiser = torch.optim.AdamW([p for p in after.model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        after.model(input_ids=IDS, labels=IDS).loss.backward()
        optimiser.step()
    assert lm.fingerprint() == name
    assert (logits(after) - logits(lm)).abs().max() > 1e-3


def test_fork_of_an_adapted_model_is_independent():
    after = trained(tiny_lm())
    name, other = after.fingerprint(), after.fork()
    assert other.fingerprint() == name
    for parameter in other.model.parameters():
        parameter.data.add_(1)
    assert after.fingerprint() == name


def test_saved_merged(tmp_path):
    after = trained(tiny_lm())
    after.save(tmp_path / "model")
    assert not (tmp_path / "model" / "adapter_config.json").exists()
    assert LM.load(tmp_path / "model").fingerprint() == merged(after).fingerprint()


def test_saved_alone_and_loaded_with_its_base(tmp_path):
    tiny_lm().save(tmp_path / "base")
    base = LM.load(tmp_path / "base")
    after = trained(base)
    after.save(tmp_path / "adapter", merge=False)
    files = {p.name for p in (tmp_path / "adapter").iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    again = LM.load(tmp_path / "adapter")
    assert torch.equal(logits(again), logits(after))
    assert again.fingerprint() == after.fingerprint()
    assert again.origin == base.origin
    assert [n for n, p in again.model.named_parameters() if p.requires_grad]


def test_an_adapter_is_not_put_on_other_weights(tmp_path):
    tiny_lm().save(tmp_path / "base")
    trained(LM.load(tmp_path / "base")).save(tmp_path / "adapter", merge=False)
    tiny_lm(seed=1).save(tmp_path / "base")
    with pytest.raises(ModelError, match="trained on other weights") as caught:
        LM.load(tmp_path / "adapter")
    assert "base" in caught.value.hint


def test_an_adapter_without_a_base_is_refused(tmp_path):
    tiny_lm().save(tmp_path / "base")
    trained(LM.load(tmp_path / "base")).save(tmp_path / "adapter", merge=False)
    (tmp_path / "adapter" / "MANIFEST.json").unlink()
    file = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say which model"):
        LM.load(tmp_path / "adapter")
    file.write_text(json.dumps(settings | {"r": 7}))
    with pytest.raises(ModelError, match="does not fit"):
        LM.load(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "other.safetensors")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        LM.load(tmp_path / "adapter")


def test_an_edited_adapter_is_damaged(tmp_path):
    tiny_lm().save(tmp_path / "base")
    trained(LM.load(tmp_path / "base")).save(tmp_path / "adapter", merge=False)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace('"r": 4', '"r": 8'))
    with pytest.raises(DamagedError, match="not as it was saved"):
        LM.load(tmp_path / "adapter")


def test_load_attaches_what_the_spec_asks_for(tmp_path):
    tiny_lm().save(tmp_path / "base")
    lm = LM.load(ModelSpec(path=str(tmp_path / "base"), adapter=Adapter(rank=3, targets=("q_proj", "v_proj"))))
    trainable = [n for n, p in lm.model.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * 2 * 3, "A and B of two modules in three layers"
    assert lm.model.peft_config["default"].lora_alpha == 6


def test_adapters_that_cannot_be():
    lm = tiny_lm()
    with pytest.raises(MethodError, match="fits no module") as caught:
        attach(lm, Adapter(targets=("c_attn",)))
    assert "q_proj" in caught.value.hint
    with pytest.raises(MethodError, match="adapter already"):
        attach(attach(lm, Adapter()), Adapter())
    with pytest.raises(MethodError, match="own reference"), reference_disabled(lm.model):
        pass
    with pytest.raises(MethodError, match="no adapter to scale"):
        scale_adapter(lm, 2.0)
    assert merged(lm) is lm


def test_fingerprint_sees_the_scale_of_an_adapter():
    lm = tiny_lm()
    assert attach(lm, Adapter(rank=2, alpha=4)).fingerprint() == attach(lm, Adapter(rank=2)).fingerprint()
    assert attach(lm, Adapter(rank=2, alpha=5)).fingerprint() != attach(lm, Adapter(rank=2)).fingerprint()


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5, -1.0])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_scaling_the_adapter_is_extrapolating_the_merged_weights(family, factor):
    before = tiny_lm(family)
    after = trained(before)
    scaled, along = merged(scale_adapter(after, factor)), extrapolate(before, after, factor)
    for (name, ours), (_, theirs) in zip(scaled.model.named_parameters(), along.model.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, msg=name)
    if factor != 1.0:
        assert (logits(scaled) - logits(after)).abs().max() > 1e-3


def test_scaled_adapter_survives_saving(tmp_path):
    tiny_lm().save(tmp_path / "base")
    scaled = scale_adapter(trained(LM.load(tmp_path / "base")), 1.7)
    scaled.save(tmp_path / "adapter", merge=False)
    assert torch.equal(logits(LM.load(tmp_path / "adapter")), logits(scaled))


def test_adapters_that_train_more_are_not_scaled():
    after = trained(tiny_lm())
    after.model.peft_config["default"].bias = "all"
    with pytest.raises(MethodError, match="more than A and B"):
        scale_adapter(after, 2.0)


def test_broken_adapters_are_not_merged():
    after = trained(tiny_lm())
    next(p for n, p in after.model.named_parameters() if "lora_B" in n).data.view(-1)[0] = float("nan")
    with pytest.raises(ModelError, match="cannot be merged"):
        merged(after)
    assert isinstance(after.model, nn.Module)
