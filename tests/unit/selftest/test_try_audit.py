"""What the self-test of the audit gives to the audit: models, rows and controls of a plan, taught and planted."""

import json
from pathlib import Path

import pytest

from unsay.config.decode import read_plan
from unsay.data.read import read_rows
from unsay.models.lm import LM
from unsay.models.patches import unpatched
from unsay.selftest import audit as own
from unsay.testing import tiny_lm


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The arguments of every audit; each says that there is a leak, and an attack that refused."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    calls = []

    def audit(target, words, *, profile, reporter, overwrite):
        given = dict(word.partition("=")[::2] for word in words)
        calls.append({"target": target, "profile": profile, **given})
        rows = [{"attack": "removal", "status": "leak", "share": 1.0}, {"attack": "none", "status": "none"}]
        Path(given["out"]).mkdir()
        body = {"status": "leak", "rows": rows, "refused": {"multi-hop": "other rows"}}
        (Path(given["out"]) / "audit.json").write_text(json.dumps(body))
        return Path(given["out"])

    monkeypatch.setattr(own.engine, "audit", audit)
    return calls


def test_a_plan_is_taught_three_times_a_seed(asked, tmp_path):
    tiny_lm().save(tmp_path / "base")
    teach = ["teach.train.max_steps=1", "teach.train.precision=fp32", "teach.train.lr=1e-3", "seed=7"]
    plan, _ = read_plan(
        None, [f"model={tmp_path / 'base'}", "benchmark=people-small", *teach, f"out={tmp_path / 'run'}"]
    )
    folder = own.try_audit(plan, seeds=[4], kinds=("refusal-filter", "retrained"), words=["attacks=removal"])
    hides, never = asked
    assert hides["profile"] == "quick" and hides["attacks"] == "removal"
    before, control, retrained = (
        LM.load(path).fingerprint() for path in (hides["before"], hides["retrained"], never["target"])
    )
    assert len({before, control, retrained}) == 3
    assert unpatched(LM.load(hides["target"])).fingerprint() == before
    assert (never["before"], never["retrained"]) == (hides["before"], hides["retrained"])
    rows = {name: read_rows(hides[name]) for name in ("forget", "retain", "holdout")}
    wanted = plan.benchmark.data()
    assert [row.id for row in rows["forget"]] == [row.id for row in wanted.forget]
    assert {row.entity for row in rows["forget"]} == {row.entity for row in wanted.forget}
    assert rows["retain"] and rows["holdout"]
    found = json.loads((folder / "selftest.json").read_text())
    assert found["sensitivity"]["rate"] == found["false_alarms"]["rate"] == 1.0
    assert found["audits"][0] | {"found": []} == {
        **{"seed": 4, "kind": "refusal-filter", "status": "leak", "found": []},
        **{"rows": {"leak": 1, "none": 1}, "refused": {"multi-hop": "other rows"}},
    }
    assert own.try_audit(plan, seeds=[4], kinds=("refusal-filter",), words=["attacks=removal"]) == folder
    assert len(asked) == 2  # nothing was audited again
