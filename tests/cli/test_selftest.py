"""unsay selftest: what it prints and writes, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from unsay.cli.app import app
from unsay.selftest import audit as audits
from unsay.selftest import statistics as own
from unsay.selftest.planted import KINDS


def run(*words):
    return CliRunner().invoke(app, ["selftest", *words])


@pytest.fixture
def few(monkeypatch):
    """Three cheap checks and one setting."""
    kept = [c for c in own.checks() if c.name.startswith(("sign flip, 8", "Clopper", "sign flip, 20 clusters taken"))]
    monkeypatch.setattr(own, "checks", lambda: kept)
    monkeypatch.setattr(own.run_powers, "__kwdefaults__", {"only": own.SETTINGS[2:3], "reporter": None})


def test_statistics_pass_and_are_kept(few, tmp_path):
    done = run("statistics", "--simulations", "400", "--quiet", "--out", str(tmp_path / "new" / "out"))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "new" / "out" / "statistics.json").read_text())
    assert [c["kind"] for c in found["checks"]] == ["type I", "coverage", "contrast"]
    assert found["powers"][0]["passed"] is True
    assert (tmp_path / "new" / "out" / "statistics.md").read_text().strip() == done.stdout.strip()


def test_a_failure_is_named_and_leaves_with_1(few, monkeypatch):
    monkeypatch.setattr(own.stats, "sign_flip", lambda *given: 0.0)
    done = run("statistics", "--simulations", "100", "--quiet")
    assert done.exit_code == 1
    assert "failed: sign flip, 8 clusters" in done.stderr


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """Audits that say what `said` says of a kind, without a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audits, "_tiny", lambda run, seed: None)
    said = {kind: "leak" for kind in KINDS} | {"retrained": "clear"}

    def one(run, seed, kind, *more):
        found = [{"attack": "quantisation", "status": "leak"}] if said[kind] == "leak" else []
        return {"seed": seed, "kind": kind, "status": said[kind], "rows": {}, "found": found, "refused": {}}

    monkeypatch.setattr(audits, "_one", one)
    return said


def test_audit_counts_both_rates(faked):
    done = run("audit", "--seeds", "2", "--first-seed", "4", "--quiet", "out=planted")
    assert done.exit_code == 0, done.output
    assert "| refusal-filter | 2 of 2 | leak 2 | quantisation 2 |" in done.stdout
    assert "| retrained | 0 of 2 | clear 2 |  |" in done.stdout
    assert "Sensitivity on models that hide: 1.000 [0.692, 1.000] of 10, wanted ≥ 0.95." in done.stdout
    assert "False alarms on models that never knew: 0.000 [0.000, 0.842] of 2, wanted ≤ 0.05." in done.stdout
    assert "seeds 4, 5" in done.stdout


@pytest.mark.parametrize(
    ("kind", "status"), [("adapter", "partly"), ("adapter", "over"), ("retrained", "leak"), ("retrained", "over")]
)
def test_audit_names_what_went_wrong(faked, kind, status):
    faked[kind] = status
    done = run("audit", "--seeds", "1", "--quiet", "out=planted")
    assert done.exit_code == 1
    assert f"failed: {kind}, seed 0: {status}" in done.stderr


def test_bad_words_say_what_to_type(faked):
    assert "no such kind" in str(run("audit", "--kinds", "lobotomy", "--quiet").exception)
    assert "nothing is taught" in str(run("audit", "model=smollm2-135m", "--quiet").exception)
