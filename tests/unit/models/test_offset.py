"""Logit offsets on tiny models: built, trained, measured, saved, loaded, and what is refused."""

import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from unsay.config.plan import Adapter, Train
from unsay.errors import DamagedError, MethodError, ModelError, PlanError
from unsay.measure.generations import generate
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.methods.extrapolate import Extrapolate
from unsay.methods.grad_diff import GradDiff
from unsay.methods.kl_min import KLMin
from unsay.methods.logit_offset import LogitOffset
from unsay.methods.npo import NPO
from unsay.models.adapters import attach
from unsay.models.lm import LM
from unsay.models.offset import OffsetModel
from unsay.models.patches import Offset, underlying, unpatched, with_offset
from unsay.runs.run import Run
from unsay.testing import check_method, facts, mean_nll, tiny_lm

IDS = torch.tensor([[5, 9, 20, 31, 40, 7], [8, 8, 12, 60, 33, 2]])
TRAIN = Train(lr=1e-2, batch=4, epochs=2, micro_tokens=4096, precision="fp32", checkpoint_every=0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


def small():
    """The vocabulary of `tiny_lm()` in another family, size and head."""
    return tiny_lm("gpt2", seed=7, n_layer=1)


def patched(kind, a=1.5):
    """An LM with an offset of 0: on the model itself, from another model, from an adapter on another model."""
    lm = tiny_lm()
    if kind == "self":
        return with_offset(lm, a, Adapter(rank=4))
    if kind == "small":
        return with_offset(lm, a, Adapter(), small())
    return with_offset(attach(lm, Adapter()), a, Adapter(rank=4), small())


KINDS = ["self", "small", "small-lora"]


def moved(lm):
    """`lm` with M_o somewhere else than M_o0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return lm


def logits(lm):
    with torch.no_grad():
        return lm.model(input_ids=IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_the_offset_is_exactly_zero_at_the_start(kind):
    lm = patched(kind)
    assert torch.equal(logits(lm), logits(tiny_lm()))
    assert lm.model.is_zero() and not moved(lm).model.is_zero()
    assert not torch.allclose(logits(lm), logits(tiny_lm()), atol=1e-2)
    assert lm.patches == (Offset(1.5, kind != "self"),)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scales_the_offset_and_zero_is_the_large_model(kind):
    lm = moved(patched(kind))
    base, full = logits(tiny_lm()), logits(lm)
    lm.model.a = 0.75
    torch.testing.assert_close(logits(lm) - base, (full - base) / 2, atol=1e-4, rtol=1e-4)
    lm.model.a = 0.0
    assert torch.equal(logits(lm), base)
    lm.model.a = 1.5
    with lm.model.disable_adapter():
        assert torch.equal(logits(lm), base)
    assert torch.equal(logits(lm), full)


def test_on_the_model_itself_a_of_one_is_the_adapter():
    lm = moved(patched("self", a=1.0))
    with torch.no_grad():
        torch.testing.assert_close(logits(lm), lm.model.small(input_ids=IDS).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_small_model_alone(kind):
    lm = moved(patched(kind))
    lm.model(input_ids=IDS).logits.logsumexp(-1).sum().backward()
    reached = {name for name, p in lm.model.named_parameters() if p.grad is not None and p.grad.any()}
    wanted = {name for name, p in lm.model.named_parameters() if p.requires_grad}
    assert reached and reached <= wanted and all(name.startswith("small.") for name in wanted)
    assert all("lora_" in name for name in wanted) == (kind != "small")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", [NPO(), GradDiff(), KLMin()], ids=["npo", "grad-diff", "kl-min"])
def test_training_moves_the_small_model_alone(kind, base, tmp_path):
    lm = tiny_lm() if kind != "small-lora" else attach(tiny_lm(), Adapter(rank=4))
    before = lm.fingerprint()
    folder = ""
    if kind != "self":
        small().save(tmp_path / "small")
        folder = str(tmp_path / "small")
    with Run.temporary(TRAIN) as run:
        after = LogitOffset(small=folder, base=base).unlearn(lm, facts(), run)
    assert lm.fingerprint() == before
    assert underlying(after).model.state_dict().keys() == tiny_lm().model.state_dict().keys()
    for name, tensor in underlying(after).model.state_dict().items():
        assert torch.equal(tensor, tiny_lm().model.state_dict()[name]), name
    assert mean_nll(after, facts().forget) > mean_nll(lm, facts().forget) + 0.1
    assert not after.model.is_zero() and after.attention == lm.attention


@pytest.mark.parametrize("kind", ["self", "small"])
def test_the_reference_is_the_same_in_every_form(kind, tmp_path):
    small().save(tmp_path / "small")
    method = LogitOffset(small=str(tmp_path / "small") if kind == "small" else "", base=NPO(retain="kl"))
    found = []
    for form in ("auto", "adapter", "copy"):
        with Run.temporary(dataclasses.replace(TRAIN, reference=form)) as run:
            found.append(logits(method.unlearn(tiny_lm(), facts(), run)))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0], found[2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_changes_nothing(kind, tmp_path):
    lm = moved(patched(kind))
    lm.save(tmp_path / "model")
    loaded = LM.load(tmp_path / "model")
    assert loaded.fingerprint() == lm.fingerprint() and loaded.patches == lm.patches
    assert torch.equal(logits(loaded), logits(lm))
    prompts = {"Who is Ada?": 8, "Where does she live, then?": 8}
    assert generate(loaded, prompts, precision="fp32") == generate(lm, prompts, precision="fp32")
    wanted = {n for n, p in lm.model.named_parameters() if p.requires_grad}
    assert {n for n, p in loaded.model.named_parameters() if p.requires_grad} == wanted
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters()) and not loaded.model.training
    loaded.save(tmp_path / "again")
    assert LM.load(tmp_path / "again").fingerprint() == lm.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_holds_the_unchanged_weights(kind, tmp_path):
    moved(patched(kind)).save(tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(plain(input_ids=IDS).logits, logits(tiny_lm()))
    told = json.loads((tmp_path / "model" / "patch.json").read_text())
    assert told["patches"] == [{"kind": "offset", "a": 1.5, "own_small": kind != "self"}]
    assert "The weights are unchanged: the knowledge is still in the checkpoint" in told["note"]
    assert "knowledge is still in the checkpoint" in (tmp_path / "model" / "README.md").read_text()
    assert str(tmp_path) not in (tmp_path / "model" / "patch.json").read_text()


def test_damage_in_a_subfolder_is_found(tmp_path):
    moved(patched("small")).save(tmp_path / "model")
    file = tmp_path / "model" / "small" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DamagedError, match=r"small/model\.safetensors"):
        LM.load(tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 2, "patches": []}',
        "[]",
        '{"format": 1, "patches": [{"kind": "x"}]}',
        '{"format": 1, "patches": [{"kind": "offset", "a": "much", "own_small": false}]}',
        '{"format": 1, "patches": [{"kind": "guard"}]}',
        "{",
    ],
)
def test_a_patch_file_that_is_not_understood(text, tmp_path):
    tiny_lm().save(tmp_path / "model")
    (tmp_path / "model" / "patch.json").write_text(text)
    with pytest.raises(ModelError, match=r"patch\.json holds a patch that cannot be applied"):
        LM.load(tmp_path / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_fork_and_fingerprint(kind):
    lm = moved(patched(kind))
    name, other = lm.fingerprint(), lm.fork()
    assert other.fingerprint() == name and torch.equal(logits(other), logits(lm))
    moved(other)
    assert lm.fingerprint() == name != other.fingerprint()
    with torch.no_grad():
        next(iter(underlying(other).model.parameters())).add_(1.0)
    assert lm.fingerprint() == name
    assert dataclasses.replace(lm, patches=(Offset(0.5, kind != "self"),)).fingerprint() != name


def test_fingerprint_sees_the_small_models_configuration():
    lm = patched("small")
    name = lm.fingerprint()
    lm.model.small.config.layer_norm_epsilon = 0.1
    assert lm.fingerprint() != name


def test_fingerprint_sees_the_adapters_scale():
    one, other = (with_offset(tiny_lm(), 1.0, Adapter(rank=4, alpha=alpha)) for alpha in (4, 8))
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_scored_as_the_sum(kind):
    """Token trees, batches and chunks give what one plain forward gives."""
    lm = moved(patched(kind))
    asks = [Ask("Who is Ada?", answer) for answer in ("A nurse.", "A baker.", "Nobody")] + [Ask("Why?", "So.")]
    found = token_stats(lm, asks, precision="fp32")
    for ask in asks:
        encoded = lm.template.encode(*ask)
        with torch.no_grad():
            logp = lm.model(input_ids=torch.tensor([encoded.input_ids])).logits[0].log_softmax(-1)
        at = range(encoded.answer_start, len(encoded))
        expected = [float(logp[i - 1, encoded.input_ids[i]]) for i in at]
        assert found[ask].logp.tolist() == pytest.approx(expected, abs=1e-4)
    assert all(s.logp.max() < 0 for s in token_stats(lm, asks, precision="bf16").values())


@pytest.mark.parametrize("kind", KINDS)
def test_generated_from_the_sum(kind):
    """Cached, batched decoding gives what whole forwards give, token by token."""
    lm = moved(patched(kind))
    prompts = {"Who is Ada Quill, and where?": 6, "Why?": 9, "": 4}
    found = generate(lm, prompts, precision="fp32")
    for prompt, limit in prompts.items():
        ids = lm.template.encode_prompt(prompt)
        start = len(ids)
        while len(ids) - start < limit:
            with torch.no_grad():
                token = int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token in lm.template.end_ids:
                break
            ids.append(token)
        assert found[prompt] == lm.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
    assert found != generate(unpatched(lm), prompts, precision="fp32"), "the offset has no effect here"


def test_unpatched_is_the_checkpoint_and_can_be_trained():
    for kind in KINDS:
        lm = moved(patched(kind))
        bare = unpatched(lm)
        assert bare.patches == () and bare.fingerprint() == tiny_lm().fingerprint()
        assert all(p.requires_grad for p in bare.model.parameters())
        assert not isinstance(bare.model, OffsetModel) and isinstance(lm.model, OffsetModel)
    plain = tiny_lm()
    assert unpatched(plain) is plain


def test_wider_embeddings_of_the_same_vocabulary():
    lm = with_offset(tiny_lm(vocab_size=128), 1.0, Adapter(), tiny_lm(seed=3))
    assert moved(lm).model(input_ids=IDS).logits.shape[-1] == 128


def test_other_vocabularies_are_refused(tmp_path):
    other = tiny_lm(vocab_size=103)
    other.tokenizer.add_tokens(["zebra", "quagga"])
    other.save(tmp_path / "small")
    with (
        Run.temporary(TRAIN) as run,
        pytest.raises(MethodError, match=r"another vocabulary .*: 103 and 101 tokens, 2 of"),
    ):
        LogitOffset(small=str(tmp_path / "small")).unlearn(tiny_lm(), facts(), run)


def test_what_else_is_refused():
    lm = moved(patched("self"))
    with pytest.raises(MethodError, match="has a logit offset already"):
        with_offset(lm, 1.0, Adapter())
    with pytest.raises(MethodError, match="is patched itself"):
        with_offset(tiny_lm(), 1.0, Adapter(), lm)
    with pytest.raises(MethodError, match="offset or adapter already"):
        attach(lm, Adapter())
    trained = moved(attach(tiny_lm(), Adapter(rank=2)))
    for other in (None, small()):
        with pytest.raises(MethodError, match="trained already"):
            with_offset(trained, 1.0, Adapter(), other)
    with pytest.raises(MethodError, match="needs M_o0"):
        OffsetModel(tiny_lm().model, 1.0)
    with pytest.raises(MethodError, match=r"new_cache\(\)"):
        lm.model(input_ids=IDS, past_key_values=object())
    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="extrapolate has none"):
        LogitOffset(base=Extrapolate()).unlearn(tiny_lm(), facts(), run)
    for a in (-1.0, float("nan"), float("inf")):
        with pytest.raises(PlanError, match="a: should be"):
            LogitOffset(a=a)


def test_losses_on_hidden_states_are_refused():
    class Hidden(GradDiff):
        layers = ("model.layers.1",)

    with Run.temporary(TRAIN) as run, pytest.raises(MethodError, match="reads hidden states"):
        LogitOffset(base=Hidden()).unlearn(tiny_lm(), facts(), run)


def test_contract_with_a_small_model(tmp_path):
    small().save(tmp_path / "small")
    check_method(LogitOffset(small=str(tmp_path / "small"), base=GradDiff()))


def test_contract_with_a_weaker_offset():
    check_method(LogitOffset(a=0.5))
