"""Every family: the head on chosen rows equals the whole forward; saved folders load back, tied heads stored once."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from torch import nn

from unsay.config.plan import Adapter
from unsay.models import layers
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.adapters import attach
from unsay.models.lm import LM

TIED = {"llama", "qwen2", "gemma2", "gemma3", "gpt2"}


def batch(lm: LM, length: int = 90) -> dict[str, torch.Tensor]:
    """Two rows longer than the sliding window of the families that have one."""
    ids = torch.randint(4, len(lm.tokenizer), (2, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


@pytest.mark.parametrize("with_adapter", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_head_on_rows_is_the_whole_forward(family, with_adapter):
    lm = tiny_lm(family)
    if with_adapter:
        lm = attach(lm, Adapter(rank=4))
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
    inputs = batch(lm)
    own = lm.model(**inputs).logits
    hidden = layers.backbone(lm.model)(**inputs).last_hidden_state
    rows = torch.tensor([3, 17, 100, 179])
    ours = layers.logits_of(lm.model, hidden.flatten(0, 1)[rows])
    torch.testing.assert_close(ours, own.flatten(0, 1)[rows], atol=1e-5, rtol=0)
    assert layers.head_is_plain(lm.model)
    if with_adapter:
        with_it = own
        with lm.model.disable_adapter():
            assert (lm.model(**inputs).logits - with_it).abs().max() > 1e-2, "the adapter must matter for this test"


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_layers_run_in_order(family):
    model = tiny_lm(family, **({"n_layer": 4} if family == "gpt2" else {"num_hidden_layers": 4})).model
    seen: list[nn.Module] = []
    blocks = layers.decoder_layers(model)
    for block in blocks:
        block.register_forward_hook(lambda module, *_: seen.append(module))
    model(input_ids=torch.arange(5)[None])
    assert seen == list(blocks)
    assert len(seen) == 4


def test_soft_cap_and_scale_are_applied():
    hidden = torch.randn(3, 32)
    gemma = layers.head(tiny_lm("gemma2").model)
    assert gemma.softcap == 5.0
    assert gemma(100 * hidden).abs().max() <= 5.0
    llama = tiny_lm()
    llama.model.config.logits_scaling = 4.0
    plain = llama.model.lm_head(hidden)
    torch.testing.assert_close(layers.logits_of(llama.model, hidden), plain / 4.0)
    assert not layers.head_is_plain(llama.model), "Llama's own forward divides by nothing, and the check sees it"


def test_unknown_head_is_found_out():
    class Odd(type(tiny_lm().model)):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits + 1.0
            return out

    model = tiny_lm().model
    model.__class__ = Odd
    assert not layers.head_is_plain(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load(family, tmp_path):
    lm = tiny_lm(family, seed=3)
    lm.save(tmp_path / "model")
    again = LM.load(str(tmp_path / "model"))
    assert again.fingerprint() == lm.fingerprint()
    assert again.origin == str(tmp_path / "model")
    assert not again.model.training
    inputs = batch(lm)
    assert torch.equal(again.model(**inputs).logits, lm.model(**inputs).logits)
    text = "Who is Ada?\n\tShe wrote (the first) program, #1!"
    assert again.tokenizer.decode(again.template.encode("Q", text).answer_ids, skip_special_tokens=True).strip() == text


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_heads_are_stored_once(family, tmp_path):
    lm = tiny_lm(family)
    lm.save(tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        matrices = [name for name in file.keys() if file.get_slice(name).get_shape() == [len(lm.tokenizer), 32]]  # noqa: SIM118
    assert len(matrices) == (1 if family in TIED else 2)
    again = LM.load(tmp_path / "model").model
    is_tied = again.get_input_embeddings().weight is again.get_output_embeddings().weight
    assert is_tied == (family in TIED)


def test_older_readers_find_the_rope_base(tmp_path):
    lm = tiny_lm(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 54321.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    )
    lm.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["rope_theta"] == 54321.0
    assert config["rope_scaling"]["rope_type"] == "llama3"
    again = LM.load(tmp_path / "model")
    assert again.model.config.rope_parameters == lm.model.config.rope_parameters
    gemma = tiny_lm("gemma3")
    gemma.save(tmp_path / "gemma")
    config = json.loads((tmp_path / "gemma" / "config.json").read_text())
    rope = gemma.model.config.rope_parameters
    assert config["rope_theta"] == rope["full_attention"]["rope_theta"]
    assert config["rope_local_base_freq"] == rope["sliding_attention"]["rope_theta"]


def test_loads_in_a_fresh_process_without_unsay(tmp_path):
    lm = tiny_lm()
    lm.save(tmp_path / "model")
    inputs = batch(lm)
    code = (
        "import sys, torch; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "m = M.from_pretrained(sys.argv[1]); t = T.from_pretrained(sys.argv[1])\n"
        "ids = torch.tensor(eval(sys.argv[2]))\n"
        "print(m(input_ids=ids).logits.double().sum().item(), t.decode(ids[0, :8]), 'unsay' in sys.modules)"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "model"), str(inputs["input_ids"].tolist())]
    said = subprocess.run(args, capture_output=True, text=True, check=True).stdout
    value, rest = said.split(" ", 1)
    assert float(value) == pytest.approx(lm.model(**inputs).logits.double().sum().item(), abs=1e-2)
    assert rest.strip() == f"{lm.tokenizer.decode(inputs['input_ids'][0, :8])} False".strip()


def test_tiny_models_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = tiny_lm(seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert tiny_lm(seed=5).fingerprint() == first.fingerprint()
    assert tiny_lm(seed=6).fingerprint() != first.fingerprint()


def test_fork_is_independent():
    lm = tiny_lm()
    name = lm.fingerprint()
    other = lm.fork()
    assert other.fingerprint() == name
    assert other.model.get_input_embeddings().weight is other.model.get_output_embeddings().weight
    with torch.no_grad():
        other.model.get_input_embeddings().weight += 1
    assert lm.fingerprint() == name


@pytest.mark.parametrize(
    "change",
    [
        lambda lm: lm.model.model.layers[0].mlp.up_proj.weight.data.view(-1)[:1].add_(1e-6),
        lambda lm: setattr(lm.model.config, "rms_norm_eps", 0.1),
        lambda lm: setattr(lm, "template", type(lm.template).of(lm.tokenizer, "plain")),
        lambda lm: setattr(lm, "patches", ("offset",)),
        lambda lm: setattr(
            lm.tokenizer.backend_tokenizer, "normalizer", __import__("tokenizers").normalizers.Lowercase()
        ),
        lambda lm: setattr(lm, "model", copy.deepcopy(lm.model).bfloat16()),
    ],
    ids=["weight", "config", "template", "patch", "tokenizer", "dtype"],
)
def test_fingerprint_sees_every_part(change):
    lm = tiny_lm()
    name = lm.fingerprint()
    assert lm.fingerprint() == name
    change(lm)
    assert lm.fingerprint() != name


def test_fingerprint_ignores_what_changes_no_output():
    lm = tiny_lm()
    name = lm.fingerprint()
    lm.tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    lm.model.config.use_cache = False
    lm.model.requires_grad_(False)
    assert lm.fingerprint() == name


def test_attention_can_be_switched():
    lm = tiny_lm()
    inputs = batch(lm)
    lm.set_attention("eager")
    eager = lm.model(**inputs).logits
    assert lm.attention == "eager"
    lm.set_attention("sdpa")
    torch.testing.assert_close(lm.model(**inputs).logits, eager, atol=1e-4, rtol=1e-4)
