import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unsay.errors import ResourceError
from unsay.runs import atomic, checkpoint

DRIVER = Path(__file__).with_name("crash_driver.py")


def put(root: Path, step: int, size: int = 5000, **meta) -> Path:
    generator = random.Random(step)

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(generator.randbytes(size))
        (folder / "optimizer.safetensors").write_bytes(generator.randbytes(size))
        (folder / "state.json").write_text(json.dumps({"step": step, "rng": generator.random()}))

    return checkpoint.commit(root, step, write, meta or {"step": step})


def newest(root: Path) -> tuple[int | None, list[str]]:
    said: list[str] = []
    found = checkpoint.newest(root, say=said.append)
    return (found[0] if found else None), said


@pytest.mark.parametrize("mode", ["before", "after", "ENOSPC", "EIO", "EDQUOT", "EACCES"])
def test_a_fault_at_any_call_leaves_the_old_or_the_new_checkpoint(tmp_path, mode):
    done = subprocess.run([sys.executable, DRIVER, tmp_path, mode], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["problems"] == []
    assert result["points"] >= 40


def test_none_without_checkpoints(tmp_path):
    assert checkpoint.newest(tmp_path / "missing") is None
    assert checkpoint.newest(tmp_path) is None


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (2, 10, 9):
        put(tmp_path, step)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found == (10, tmp_path / "step-10", {"step": 10})


def test_falls_back_past_damage_and_says_so(tmp_path):
    for step in (30, 40, 50):
        put(tmp_path, step)
    data = bytearray((tmp_path / "step-40" / "model.safetensors").read_bytes())
    data[17] ^= 1
    (tmp_path / "step-40" / "model.safetensors").write_bytes(data)
    (tmp_path / "step-50" / "state.json").unlink()
    assert newest(tmp_path) == (
        30,
        [
            "checkpoint step-50 is damaged (state.json: missing); resuming from step-30",
            "checkpoint step-40 is damaged (model.safetensors: sha256 differs); resuming from step-30",
        ],
    )


def test_starts_over_when_all_are_damaged(tmp_path):
    (put(tmp_path, 1) / "MANIFEST.json").unlink()
    step, said = newest(tmp_path)
    assert step is None
    assert said[0].endswith("starting from the beginning")


def mutate(folder: Path, generator: random.Random) -> str:
    """Damage one file in one way."""
    path = generator.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    kind = generator.choice(["flip", "byte", "cut", "zero", "grow", "swap", "delete", "extra", "old"])
    at = generator.randrange(len(data))
    if kind == "flip":
        data[at] ^= 1 << generator.randrange(8)
    elif kind == "byte":
        data[at] = (data[at] + generator.randrange(1, 256)) % 256
    elif kind == "cut":
        del data[at:]
    elif kind == "zero":
        start = min(at, len(data) - 64)
        data[start : start + 64] = bytes(64)
    elif kind == "grow":
        data += b" " * generator.randrange(1, 9)
    if kind == "delete":
        path.unlink()
    elif kind == "extra":
        (folder / "extra.bin").write_bytes(b"x")
    elif kind == "swap":
        other = folder / ("optimizer.safetensors" if path.name == "model.safetensors" else "model.safetensors")
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif kind == "old":  # a file of another checkpoint, whole in itself
        shutil.copy(folder.parent / "step-1" / path.name, path)
    else:
        path.write_bytes(data)
    return f"{kind} of {path.name} at {at}"


def test_every_mutation_is_detected_and_survived(tmp_path):
    put(tmp_path, 1)
    put(tmp_path, 2)
    shutil.copytree(tmp_path / "step-2", tmp_path / "whole")
    generator = random.Random(7)
    missed = []
    for _ in range(300):
        shutil.rmtree(tmp_path / "step-2")
        shutil.copytree(tmp_path / "whole", tmp_path / "step-2")
        what = mutate(tmp_path / "step-2", generator)
        step, said = newest(tmp_path)
        if step != 1 or "step-2 is damaged" not in "".join(said):
            missed.append(what)
    assert missed == []


def test_every_byte_of_the_manifest_counts(tmp_path):
    path = put(tmp_path, 2, lr=1e-5, note="ä") / "MANIFEST.json"
    whole = path.read_bytes()
    missed = []
    for at in range(len(whole)):
        for new in (whole[at] ^ 1, whole[at] ^ 32):
            path.write_bytes(whole[:at] + bytes([new]) + whole[at + 1 :])
            if not atomic.damage(path.parent):
                missed.append((at, new))
    assert missed == []


def test_prune_keeps_the_newest_whole_ones(tmp_path):
    for step in (1, 2, 3, 4):
        put(tmp_path, step)
    (tmp_path / "step-4" / "state.json").unlink()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3", "step-4"]


def test_prune_never_removes_the_last_one(tmp_path):
    put(tmp_path, 1)
    checkpoint.prune(tmp_path, keep=0)
    assert newest(tmp_path) == (1, [])


def test_the_same_step_is_not_written_twice(tmp_path):
    put(tmp_path, 1)

    def write(folder: Path) -> None:
        raise AssertionError("must not be called")

    assert checkpoint.commit(tmp_path, 1, write, {"step": 1}) == tmp_path / "step-1"


@pytest.mark.parametrize("stale", ["meta", "damage"])
def test_a_stale_checkpoint_of_the_step_is_replaced(tmp_path, stale):
    path = put(tmp_path, 1, plan="old" if stale == "meta" else "new")
    if stale == "damage":
        (path / "state.json").write_text("{}")
    put(tmp_path, 1, plan="new")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found[2] == {"plan": "new"}


def test_space_is_asked_for_by_the_size_of_the_last_one(tmp_path, monkeypatch):
    put(tmp_path, 1, size=100_000)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=230_000))
    with pytest.raises(ResourceError, match="free"):
        put(tmp_path, 2)
    assert newest(tmp_path) == (1, [])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=290_000))
    put(tmp_path, 2)
    assert newest(tmp_path) == (2, [])
