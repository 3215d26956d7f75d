import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from unsay.runs import manifest
from unsay.runs.manifest import Manifest, ScoreRow

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def test_schemas_are_up_to_date(tmp_path):
    manifest.write_schemas(tmp_path)
    for name in manifest.schemas():
        assert (SCHEMAS / name).read_text() == (tmp_path / name).read_text(), manifest.write_schemas.__doc__


def test_a_manifest_survives_the_file(tmp_path):
    about = Manifest("n", "h", ["unsay", "run"], "2026-08-01T00:00:00+00:00", 3)
    about.git, about.machine, about.packages = manifest.git(), manifest.machine(2), manifest.packages()
    about.stages.append(manifest.StageRecord("teach", "k", "done", 1.5, 10, 20))
    about.models["after"] = manifest.ModelRecord("o", "f")
    about.data["forget"] = manifest.DataRecord(1, "f", "s")
    about.save(tmp_path)
    assert Manifest.load(tmp_path) == about


def test_score_rows_match_their_schema():
    row = {
        "model": "after",
        "metric": "rouge@forget",
        "split": "forget",
        "value": None,
        "ci": None,
        "n": 0,
        "clusters": 0,
    }
    adapter = TypeAdapter(list[ScoreRow])
    assert adapter.validate_json(json.dumps([{**row, "note": "no rows"}]))[0].value is None
    assert adapter.validate_json(json.dumps([{**row, "note": "", "value": 0.5, "ci": [0, 1]}]))[0].ci == (0, 1)
    for broken in ({**row}, {**row, "note": "", "value": "0.5"}, {**row, "note": "", "extra_key": 1}):
        with pytest.raises(ValidationError):
            adapter.validate_json(json.dumps([broken]))


def test_git_names_the_checkout():
    found = manifest.git()
    assert found is not None
    assert len(found.commit) == 40


def test_git_is_none_where_there_is_no_checkout(tmp_path, monkeypatch):
    (tmp_path / "manifest.py").write_text("")
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "manifest.py"))
    assert manifest.git() is None
    monkeypatch.setenv("PATH", "")
    assert manifest.git() is None


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("", None), ("many", None), ("0", None)])
def test_threads_come_from_the_environment(monkeypatch, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    machine = manifest.machine()
    assert machine.threads == (expected or machine.cores)
    assert manifest.machine(5).threads == 5


def test_changed_packages():
    assert manifest.changed_packages({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == [
        "b 2 → 3",
        "c absent → 4",
    ]
