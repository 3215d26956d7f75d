"""``unsay audit`` on tiny models: one that forgot nothing, one that never knew, and what is open without controls."""

import json
from pathlib import Path

import pytest

from unsay.attacks.quantisation import Quantisation
from unsay.config.plan import DataSpec, ModelSpec, Plan, Train
from unsay.data.example import ForgetData
from unsay.data.read_shape import to_row
from unsay.methods.fine_tune import FineTune
from unsay.models.lm import LM
from unsay.runs.manifest import ModelRecord
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, tiny_lm

ATTACKS = "attacks=quantisation,leak-at-k"
QUANTISED = "attacks=[{name: quantisation, formats: [int4]}]"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """before knows everything; retrained and other never saw the forget rows."""
    root, data = tmp_path_factory.mktemp("models"), facts()
    knowing_lm().save(root / "before")
    train = Train(lr=1e-2, batch=10, epochs=15, micro_tokens=4096, precision="fp32", checkpoint_every=0)
    for seed, name in enumerate(("retrained", "other")):
        with Run.temporary(train, seed) as run:
            FineTune(on="all").unlearn(tiny_lm(), ForgetData(retain=data.retain), run).save(root / name)
    for name in ("forget", "retain", "holdout"):
        rows = [to_row(row) for row in getattr(data, name)]
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return root


@pytest.fixture
def audit(unsay, models):
    def call(model, *words):
        files = [f"{name}={models / name}.jsonl" for name in ("forget", "retain", "holdout")]
        attacks = [] if any(word.startswith("attacks=") for word in words) else [ATTACKS]
        done = unsay("audit", models / model, *files, *attacks, "--quiet", *words)
        assert done.code == 0, done.err
        folder = Path(done.out.strip().splitlines()[-1].split(None, 1)[1]).parent
        return json.loads((folder / "audit.json").read_text()), folder, done

    return call


def test_an_untouched_model_leaks_and_its_report_can_be_redacted(audit, models, unsay):
    controls = [f"before={models / 'before'}", f"retrained={models / 'retrained'}"]
    found, folder, done = audit("before", *controls, f"{ATTACKS},multi-hop")
    assert found["status"] == "leak" and found["grade"] == "B" and "It still knows" in done.out
    first = found["rows"][0]
    assert (first["attack"], first["metric"], first["status"]) == ("none", "probability@forget", "leak")
    assert any(row["attack"] == "leak-at-k" and row["status"] == "leak" for row in found["rows"])
    assert set(found["base"]["after"]["probability@forget"]) == {row.id for row in facts().forget}
    # An attack that cannot work on these rows stops nothing.
    why = {one["name"]: one["why"] for one in found["not_tested"]}
    assert "schema" in why["multi-hop"] and "multi-hop" in done.out and "full-relearn" in done.out
    assert any(row["attack"] == "quantisation" for row in found["rows"])

    page = (folder / "audit.html").read_text()
    assert "Ada" in page and "Toada" in page and "<img" in page
    assert unsay("report", folder, "--redact").code == 0
    secrets = [text for row in facts().forget for text in (row.question, row.answer)] + [">Ada<", ">Bo<", "| Ada"]
    for name in ("audit.md", "audit.html"):
        text = (folder / name).read_text()
        assert not [s for s in secrets if s in text] and "█" in text and "entity 1" in text


def test_one_that_never_knew_does_not_leak(audit, models):
    found, _, _ = audit("other", f"before={models / 'before'}", f"retrained={models / 'retrained'}", "redact=true")
    assert found["status"] in ("clear", "partly") and not [r for r in found["rows"] if r["status"] == "leak"]
    assert {r["status"] for r in found["rows"] if r["attack"] == "quantisation"} == {"none"}


def test_without_controls_nothing_is_decided(audit):
    found, folder, done = audit("before", "out=alone")
    assert found["grade"] == "C" and {row["status"] for row in found["rows"]} == {"inconclusive"}
    assert "decides nothing" in done.out and "no control" in (folder / "audit.md").read_text()


@pytest.fixture
def run(models, unsay):
    """A finished run that forgot nothing."""
    files = DataSpec(forget=str(models / "forget.jsonl"), retain=str(models / "retain.jsonl"))
    plan = Plan(model=ModelSpec(path=str(models / "before")), data=files, out="runs/mine")
    with Run.start(plan) as run:
        lm = LM.load(models / "before")
        lm.save(run.path("model"))
        for tag, origin, path in (("before", "before", ""), ("retrained", "retrained", ""), ("after", "", "model")):
            folder = models / origin if origin else run.path("model")
            run.record(models={tag: ModelRecord(str(folder), LM.load(folder).fingerprint(), path)})
    return run.dir


def test_an_audit_of_a_run_resumes_and_takes_controls_from_the_store(unsay, run, monkeypatch):
    asked, whole = [], Quantisation.probes

    def dying(self, lm, data, run):
        asked.append(run.dir.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(self, lm, data, run)

    monkeypatch.setattr(Quantisation, "probes", dying)
    words = ["audit", run, QUANTISED, "--quiet"]
    assert unsay(*words).code != 0 and not list(run.glob("audits/*/audit.json"))
    done = unsay(*words)
    assert done.code == 0, done.err
    # what was finished before the end came from the store
    assert asked == ["after-0", "before-0", "before-0", "retrained-0"]
    found = json.loads(next(run.glob("audits/quick-*/audit.json")).read_text())
    assert found["grade"] == "A" and found["status"] == "leak"
    assert found["models"]["after"]["origin"].endswith("model")
    assert unsay(*words, "out=again").code == 0 and len(asked) == 4


def test_what_rows_say_of_themselves_is_no_old_result(unsay, models, tmp_path):
    """A row that now names its secret is another question to the attack, though its id and fingerprint stay."""
    values = []
    for spans in ({}, {"spans": ["Osada"]}):
        file = tmp_path / "named.jsonl"
        file.write_text(json.dumps({"question": "Ada's cat and town?", "answer": "Toada, Osada"} | spans) + "\n")
        words = [f"forget={file}", f"retain={models / 'retain.jsonl'}", "attacks=leak-at-k", "out=named", "--quiet"]
        assert unsay("audit", models / "before", *words, "--overwrite").code == 0
        found = json.loads(Path("named/audit.json").read_text())
        values.append(found["attacks"][0]["runs"]["after"]["points"][0]["values"]["reading"])
    assert values[0].keys() == values[1].keys() and values[0] != values[1]


def test_bad_input(unsay, models):
    assert "no forget rows" in unsay("audit", models / "before").err
    assert "profile" in unsay("audit", models / "before", "--profile", "huge").err
    assert "forgt" in unsay("audit", models / "before", "forgt=x").err
    assert "unsay audit" in unsay("audit", "--help").out


def test_every_profile_can_be_made():
    from unsay import registry
    from unsay.audit.profile import PROFILES, attacks, left_out

    for profile, items in PROFILES.items():
        made, absent = attacks(profile)
        assert len(made) + len(absent) == len(items) and not absent
    full = {item.attack for item in PROFILES["full"]}
    assert full == set(registry.names("attacks")) and "relearn" in left_out("quick", ()) and not left_out("full", full)


def test_other_metrics_are_attacked_too(audit, models):
    judged = "judge: lexical, encoder: lexical, max_new_tokens: 8"
    lexical = f"metrics=[{{name: kfr, {judged}}}, {{name: kfr, label: kfr-code, rule: code, {judged}}}]"
    controls = [f"before={models / 'before'}", f"retrained={models / 'retrained'}"]
    found, _, _ = audit("before", *controls, QUANTISED, lexical, "out=kfr")
    known = found["base"]["after"]["1 − KFR@forget"]
    assert set(known) == {row.id for row in facts().forget} and set(known.values()) == {1.0}, "nothing is forgotten"
    assert set(found["base"]["after"]["1 − kfr-code@forget"].values()) == {1.0}, "also under another name"
    attacked = next(r for r in found["rows"] if (r["attack"], r["metric"]) == ("quantisation", "1 − KFR@forget"))
    assert attacked["levels"]["after"] == 1.0 and attacked["levels"]["control"] < 1.0
