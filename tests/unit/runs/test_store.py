import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from unsay.errors import PlanError, ResourceError
from unsay.runs.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def columns() -> dict:
    return {
        "id": ["a", "b", "ä\n"],
        "n": [1, 2, 3],
        "logp": [np.array([-0.1, -2.0], np.float32), np.zeros(0, np.float32), np.array([-1e-30], np.float32)],
        "rank": [np.array([0, 7], np.int32), np.zeros(0, np.int32), np.array([49151], np.int32)],
        "texts": [["x", "y"], [], [""]],
    }


def equal(got: dict | None, put: dict) -> bool:
    if got is None or got.keys() != put.keys():
        return False
    for name in ("logp", "rank"):
        for a, b in zip(got[name], put[name], strict=True):
            if a.dtype != b.dtype or not np.array_equal(a, b):
                return False
    return all(got[name] == put[name] for name in ("id", "n", "texts"))


def test_tables_come_back_as_they_were(store):
    assert not store.has("k")
    assert store.get_table("k") is None
    store.put_table("k", columns())
    assert store.has("k")
    assert equal(store.get_table("k"), columns())


def test_a_table_of_no_rows(store):
    store.put_table("k", {"id": [], "logp": []})
    assert store.get_table("k") == {"id": [], "logp": []}


def test_keys_do_not_run_into_each_other(store):
    for key in ("ab.c", "abc", "ab", "a"):
        store.put_table(key, {"id": [key]})
    assert [store.get_table(key) for key in ("ab.c", "abc", "ab", "a")] == [
        {"id": ["ab.c"]}, {"id": ["abc"]}, {"id": ["ab"]}, {"id": ["a"]},
    ]  # fmt: skip


def test_putting_again_replaces(store):
    store.put_table("k", {"id": ["old"]})
    store.put_table("k", {"id": ["new"]})
    assert store.get_table("k") == {"id": ["new"]}
    assert len(list(store.root.rglob("*.parquet"))) == 1
    assert not store.has("kk")


@pytest.mark.parametrize("key", ["../k", "a/b", "", "..", "x" * 65])
def test_keys_that_leave_the_folder_are_refused(store, key):
    with pytest.raises(PlanError):
        store.put_table(key, {"id": []})
    with pytest.raises(PlanError):
        store.model(key)
    with pytest.raises(PlanError), store.put_model(key):
        pass
    assert not store.root.exists()


def test_a_damaged_table_counts_as_absent_whatever_byte_it_is(store, caplog):
    store.put_table("k", columns())
    (path,) = store.root.rglob("*.parquet")
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert store.get_table("k") is None
    assert "is damaged; measuring again" in caplog.text
    store.put_table("k", columns())
    assert equal(store.get_table("k"), columns())


def test_models_are_verified_folders(store, caplog):
    assert store.model("m") is None
    with store.put_model("m") as folder:
        (folder / "model.safetensors").write_bytes(b"123")
    found = store.model("m")
    assert found is not None
    assert (found / "model.safetensors").read_bytes() == b"123"
    (found / "model.safetensors").write_bytes(b"124")
    assert store.model("m") is None
    assert "model.safetensors: sha256 differs" in caplog.text
    with store.put_model("m") as folder:
        (folder / "model.safetensors").write_bytes(b"123")
    assert store.model("m") is not None


def test_a_model_whose_making_failed_is_not_there(store):
    with pytest.raises(KeyError), store.put_model("m"):
        raise KeyError
    with pytest.raises(ResourceError), store.put_model("m", expect_bytes=10**18):
        pass
    assert store.model("m") is None
    assert store.size() == 0


WRITER = """
import sys, numpy as np
from unsay.runs.store import Store
store = Store(sys.argv[1])
for turn in range(15):
    for key in ("a", "b"):
        store.put_table(key, {"x": [np.full(100, turn, np.float32)]})
        table = store.get_table(key)
        assert table is None or len(set(table["x"][0])) == 1
    with store.put_model("m") as folder:
        (folder / "w").write_bytes(b"same")
    found = store.model("m")
    assert found is not None and (found / "w").read_bytes() == b"same"
"""


def test_writers_at_the_same_time(store):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, store.root]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert all(store.get_table(key) is not None for key in ("a", "b"))
    assert store.model("m") is not None
    assert not [path for path in store.root.rglob(".tmp-*")]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_prune_takes_the_longest_unused_and_spares_the_recent(store):
    for i, key in enumerate(("old", "used", "new")):
        with store.put_model(key) as folder:
            (folder / "w").write_bytes(bytes(1000))
        age(store.root / "models" / key / "MANIFEST.json", 90_000 - i)
    assert store.model("used") is not None  # touches it
    one = store.size() // 3
    assert store.prune(2 * one + 100) >= one - 10
    assert [key for key in ("old", "used", "new") if store.model(key)] == ["used", "new"]
    assert store.prune(0) == 0  # both were used just now
    store.prune(0, spare_seconds=0)
    assert store.size() == 0


def test_prune_also_clears_what_crashes_left(store):
    store.put_table("k", {"id": [1]})
    (store.root / "tables" / "k" / ".tmp-x").write_bytes(b"x")
    store.prune(10**9)
    assert store.has("k")
    assert not list(store.root.rglob(".tmp-*"))


def test_the_default_root_is_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path))
    assert Store().root == tmp_path / "store"
    assert not Store().root.exists()
