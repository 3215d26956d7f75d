import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unsay.errors import DamagedError, ResourceError, RunError
from unsay.runs import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_json_is_strict_and_takes_numpy(tmp_path):
    value = {
        "nan": float("nan"),
        "f": np.float32(0.5),
        "a": np.array([1.0, np.inf]),
        "p": Path("x"),
        3: (1, True, None),
    }
    atomic.write_json(tmp_path / "deep" / "a.json", value)
    read = json.loads((tmp_path / "deep" / "a.json").read_text())
    assert read == {"nan": None, "f": 0.5, "a": [1.0, None], "p": "x", "3": [1, True, None]}


def test_jsonl_is_one_value_a_line(tmp_path):
    atomic.write_jsonl(tmp_path / "a.jsonl", [{"text": "two\nlines \u2028"}, 2])
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"text": "two\nlines \u2028"}, 2]


def test_text_with_a_lone_surrogate_can_be_written(tmp_path):
    atomic.write_text(tmp_path / "a.txt", "a\ud800b")
    assert (tmp_path / "a.txt").read_text() == "a?b"


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"a\.txt could not be written: No space left on device"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    atomic.write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_folder_appears_whole_with_meta(tmp_path):
    with atomic.commit_folder(tmp_path / "f", meta={"a": 1}) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "x").write_bytes(b"x")
        assert not (tmp_path / "f").exists()
    assert names(tmp_path) == ["f"]
    assert atomic.damage(tmp_path / "f") == ""
    manifest = atomic.read_manifest(tmp_path / "f")
    assert manifest["meta"] == {"a": 1}
    assert manifest["files"]["inner/x"]["bytes"] == 1


def test_folder_whose_block_raises_never_appears(tmp_path):
    with pytest.raises(KeyError), atomic.commit_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("x")
        raise KeyError
    assert names(tmp_path) == []


@pytest.mark.parametrize(("existing", "content"), [("error", "old"), ("replace", "new"), ("keep", "old")])
def test_what_happens_to_an_existing_folder(tmp_path, existing, content):
    def put(text: str, existing: atomic.Existing) -> None:
        with atomic.commit_folder(tmp_path / "f", existing=existing) as folder:
            (folder / "x").write_text(text)

    put("old", "error")
    if existing == "error":
        with pytest.raises(RunError, match="exists already"):
            put("new", existing)
    else:
        put("new", existing)
    assert (tmp_path / "f" / "x").read_text() == content
    assert names(tmp_path) == ["f"]


def test_keep_replaces_a_damaged_folder(tmp_path):
    for text in ("old", "new"):
        with atomic.commit_folder(tmp_path / "f", existing="keep") as folder:
            (folder / "x").write_text(text)
        if text == "old":
            (tmp_path / "f" / "x").write_text("bad")
    assert (tmp_path / "f" / "x").read_text() == "new"


def test_links_are_refused(tmp_path):
    (tmp_path / "secret").write_text("s")
    with pytest.raises(RunError, match="symbolic link"), atomic.commit_folder(tmp_path / "f") as folder:
        (folder / "x").symlink_to(tmp_path / "secret")
    assert names(tmp_path) == ["secret"]


def test_a_file_replaced_by_a_link_is_damage(tmp_path):
    with atomic.commit_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("s")
    (tmp_path / "copy").write_text("s")
    (tmp_path / "f" / "x").unlink()
    (tmp_path / "f" / "x").symlink_to(tmp_path / "copy")
    assert "symbolic link" in atomic.damage(tmp_path / "f")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b"])
def test_a_manifest_naming_outside_files_is_refused(tmp_path, name):
    body = {"schema_version": 1, "files": {name: {"bytes": 0, "sha256": ""}}, "meta": {}}
    (tmp_path / atomic.MANIFEST).write_bytes(atomic._manifest_bytes(body))
    with pytest.raises(DamagedError, match="outside the folder"):
        atomic.read_manifest(tmp_path)


def test_too_little_space_is_said_before_writing(tmp_path):
    with pytest.raises(ResourceError, match="GB are needed"), atomic.commit_folder(tmp_path / "f", expect_bytes=10**18):
        raise AssertionError("the block must not run")
    assert names(tmp_path) == []


def test_read_back_damage_is_an_error(tmp_path, monkeypatch):
    real = os.rename

    def rename(source, target) -> None:
        real(source, target)
        (Path(target) / "x").write_text("y")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(DamagedError, match="x: sha256 differs"), atomic.commit_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("x")


def test_sweep_removes_the_dead_and_spares_the_living(tmp_path):
    (tmp_path / ".tmp-dead").mkdir()
    (tmp_path / ".tmp-dead" / "x").write_text("x")
    (tmp_path / ".tmp-file").write_text("x")
    (tmp_path / "other").write_text("x")
    with atomic.commit_folder(tmp_path / "f") as folder:
        assert atomic.sweep(tmp_path) == 2
        assert folder.is_dir()
        (folder / "y").write_text("y")
    assert names(tmp_path) == ["f", "other"]


def test_a_real_file_size_limit_is_a_resource_error(tmp_path):
    script = f"""
import resource, numpy as np
from pathlib import Path
from safetensors.numpy import save_file
from unsay.errors import ResourceError
from unsay.runs.atomic import commit_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with commit_folder(Path({str(tmp_path)!r}) / "f") as folder:
        save_file({{"a": np.zeros(1 << 18)}}, folder / "model.safetensors")
except ResourceError as error:
    assert "File too large" in error.message, error.message
    raise SystemExit(5)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 5
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EDQUOT, ResourceError), (errno.EIO, ResourceError), (errno.EROFS, ResourceError), (errno.EACCES, RunError)],
)
def test_disk_errors_name_the_file(number, expected):
    with pytest.raises(expected, match="some/file could not be written"), atomic.disk_errors(Path("some/file")):
        raise OSError(number, "x")


def test_other_errors_pass_unchanged():
    with pytest.raises(FileNotFoundError), atomic.disk_errors(Path("x")):
        raise FileNotFoundError(errno.ENOENT, "x")


def test_everything_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    """What a power cut may lose is what was not synced: so the order of syncs and the rename is the promise."""
    trace: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(handle: int) -> None:
        trace.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renamed(source, target) -> None:
        trace.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    with atomic.commit_folder(tmp_path / "f") as folder:
        (folder / "inner").mkdir()
        for name in ("a", "b", "inner/c"):
            (folder / name).write_text(name)
        scratch = folder.name
    assert set(trace[:3]) == {"a", "b", "c"}
    assert trace[3:] == ["MANIFEST.json", "inner", scratch, "rename", tmp_path.name]
    trace.clear()
    atomic.write_text(tmp_path / "x", "x")
    assert trace[0].startswith(".tmp-x-")
    assert trace[1:] == ["rename", tmp_path.name]


def test_a_scratch_folder_that_a_sweep_took_is_made_again(tmp_path, monkeypatch):
    """A sweep of another process may come between making the folder and locking it."""
    taken = []
    plain = os.open

    def late(path, *rest, **more):
        if not taken and Path(path).name.startswith(".tmp-"):
            taken.append(path)
            Path(path).rmdir()
        return plain(path, *rest, **more)

    monkeypatch.setattr(os, "open", late)
    with atomic.commit_folder(tmp_path / "model") as scratch:
        (scratch / "file").write_text("whole")
    assert taken and (tmp_path / "model" / "file").read_text() == "whole"
