"""What `LM.save` writes, and what it refuses to write."""

import json
import stat

import pytest
import torch
from huggingface_hub import ModelCard

from unsay.errors import ModelError
from unsay.models._tiny import tiny_lm, tiny_tokenizer
from unsay.models.lm import LM
from unsay.runs.atomic import damage


def test_broken_weights_are_not_saved(tmp_path):
    lm = tiny_lm()
    lm.model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    lm.model.model.norm.weight.data[3] = float("inf")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight, model\.norm\.weight"):
        lm.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_whole(tmp_path):
    tiny_lm(seed=1).save(tmp_path / "model")
    (tmp_path / "model" / "stray.txt").touch()
    second = tiny_lm(seed=2)
    second.save(tmp_path / "model")
    assert not (tmp_path / "model" / "stray.txt").exists()
    assert damage(tmp_path / "model") == ""
    assert LM.load(tmp_path / "model").fingerprint() == second.fingerprint()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_saving_over_the_folder_it_came_from(tmp_path):
    tiny_lm().save(tmp_path / "model")
    lm = LM.load(tmp_path / "model")
    with torch.no_grad():
        lm.model.model.norm.weight += 1
    name = lm.fingerprint()
    lm.save(tmp_path / "model")
    assert lm.fingerprint() == name == LM.load(tmp_path / "model").fingerprint()


def test_a_failed_save_leaves_the_old_folder(tmp_path):
    old = tiny_lm(seed=1)
    old.save(tmp_path / "model")
    lm = tiny_lm("qwen2")
    lm.tokenizer = tiny_tokenizer("llama")  # transformers would load it back as Qwen's own
    lm.tokenizer.backend_tokenizer.pre_tokenizer = None
    lm.template = type(lm.template).of(lm.tokenizer)
    with pytest.raises(ModelError, match="would load back as a Qwen2Tokenizer"):
        lm.save(tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert LM.load(tmp_path / "model").fingerprint() == old.fingerprint()


def test_cards(tmp_path):
    lm = tiny_lm()
    lm.save(tmp_path / "a")
    card = ModelCard.load(tmp_path / "a" / "README.md")
    assert card.data.library_name == "transformers" and "unlearning" in card.data.tags
    lm.origin = str(tmp_path / "private")
    lm.save(tmp_path / "b", card="# Mine\n\nForgot *ten* rows.")
    text = (tmp_path / "b" / "README.md").read_text()
    assert "Forgot *ten* rows." in text and str(tmp_path) not in text
    assert ModelCard.load(tmp_path / "b" / "README.md").data.base_model is None
    lm.save(tmp_path / "c", card="---\nlicense: mit\n---\n# Whole")
    assert ModelCard.load(tmp_path / "c" / "README.md").data.license == "mit"
    lm.origin = "smollm2-135m"
    lm.save(tmp_path / "d")
    assert ModelCard.load(tmp_path / "d" / "README.md").data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_generation_settings_are_kept(tmp_path):
    lm = tiny_lm()
    lm.model.generation_config.temperature = 0.6  # beside do_sample=False, as Llama 2 ships it
    lm.model.generation_config.eos_token_id = [3, 2]
    lm.save(tmp_path / "model")
    again = LM.load(tmp_path / "model").model.generation_config
    assert again.temperature == 0.6 and again.eos_token_id == [3, 2]


def test_weights_can_be_read_by_others(tmp_path):
    tiny_lm().save(tmp_path / "model")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_the_tokenizer_is_saved_as_it_behaves(tmp_path):
    lm = tiny_lm()
    rows = [("Who?", "Ada"), ("", "plain text 12"), ("a\tb", "c\n d  e")]
    before = [lm.template.encode(*row) for row in rows]
    lm.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == lm.tokenizer.chat_template, "where releases before 4.43 look for it"
    assert config["tokenizer_class"] != "TokenizersBackend", "which releases before 5 do not know"
    again = LM.load(tmp_path / "model")
    assert [again.template.encode(*row) for row in rows] == before
    assert again.tokenizer.pad_token_id == lm.tokenizer.pad_token_id != again.tokenizer.eos_token_id
    assert again.template.fingerprint() == lm.template.fingerprint()
