"""Requests one after another, and one row at a time, on a tiny model: every step, resumption, the pages."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from unsay.benchmarks import _bundled
from unsay.config.plan import Adapter, DataSpec, ModelSpec, Plan, Train
from unsay.data.read_shape import to_row
from unsay.editing.token import Learning
from unsay.editing.value import Value
from unsay.errors import DamagedError, PlanError, UnsayError
from unsay.experiments import sequential as experiment
from unsay.experiments._contenders import Contender, contenders
from unsay.experiments.precise import choose, precise, siblings
from unsay.experiments.sequential import cut, sequential
from unsay.methods.alpha_edit import AlphaEdit
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.lunar import Lunar
from unsay.methods.unierase import UniErase
from unsay.report.precise import over_forgetting
from unsay.report.sequential import still_forgotten
from unsay.testing import facts, knowing_lm

EDIT = UniErase(value=Value(steps=2), keep_tokens=200, token=Learning(steps=2), again=Learning(steps=1), ridge=1e-3)
ASCENT = Contender("grad-ascent", GradAscent(), Train(lr=1e-3, epochs=2, batch=4, checkpoint_every=0, precision="fp32"))
METHODS = (Contender("unierase", EDIT), ASCENT)
TURN = Contender("lunar", Lunar(layer="1", keep_tokens=200))
ALONE = (Contender("alpha-edit", AlphaEdit(value=Value(steps=2), keep_tokens=200)), ASCENT)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("requests")
    knowing_lm().save(root / "tiny")
    for name in ("forget", "retain"):
        rows = [json.dumps(to_row(row)) for row in getattr(facts(), name)]
        (root / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    world = _bundled.world()[:3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", str(root / "home"))
        patch.setenv("UNSAY_OFFLINE", "1")
        patch.setattr(_bundled, "world", lambda: world)
        yield Plan(
            model=ModelSpec(path=str(root / "tiny")),
            data=DataSpec(forget=str(root / "forget.jsonl"), retain=str(root / "retain.jsonl")),
            train=Train(precision="fp32", checkpoint_every=0),
            out=str(root / "run"),
        )


@pytest.fixture(scope="module")
def walked(plan):
    """Stopped at the second request first, then run to the end, then run once more."""
    real, calls = experiment.unlearn, []

    def stops(run, method, lm, data):
        calls.append((run.dir.name, getattr(method, "previous", None), len(data.forget)))
        if len(calls) == 2:
            raise UnsayError("stopped")
        return real(run, method, lm, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "unlearn", stops)
        with pytest.raises(UnsayError, match="stopped"):
            sequential(plan, METHODS, requests=2, rows=4)
        folder = sequential(plan, METHODS, requests=2, rows=4)
        once = list(calls)
        sequential(plan, METHODS, requests=2, rows=4)
        assert calls == once, "a finished run was walked again"
    return folder, calls, json.loads((folder / "sequential.json").read_text())


def test_every_request_goes_on_from_the_last_one(walked):
    folder, calls, _ = walked
    first = str(folder / "unierase" / "request-1")
    assert calls == [
        ("request-1", "", 4),
        ("request-2", first, 4),  # stopped
        ("request-2", first, 4),
        ("batch", "", 8),
        ("request-1", None, 4),
        ("request-2", None, 4),
        ("batch", None, 8),
    ]
    kept = sorted(path.parent.parent.name for path in folder.rglob("model/config.json"))
    assert kept == ["request-2", "request-2"], "only the last models stay"


def test_all_requests_are_measured_after_each(walked):
    _, _, found = walked
    for walk in found["walks"]:
        assert [step["request"] for step in walk["steps"]] == [1, 2]
        for scores in (*(step["scores"] for step in walk["steps"]), walk["batch"]["scores"], found["before"]):
            assert "extraction-strength@forget" not in scores, "what no page shows is not measured"
            for name in ("forgetting-effect@request-1", "forgetting-effect@request-2", "probability@forget"):
                assert math.isfinite(scores[name]["value"])
            assert math.isfinite(scores[found["utility"]]["value"])
        edited = walk["method"] == "unierase"
        for rate in ("token-rate@retain", "token-rate-raw@retain"):
            assert (walk["steps"][0]["scores"][rate]["value"] is not None) == edited
        assert ("changed_share" in walk["steps"][0]) == edited
    ascent = found["walks"][1]["steps"]
    now, then, start = (
        {i: scores[f"probability@request-{i}"]["value"] for i in (1, 2)}
        for scores in (ascent[0]["scores"], ascent[1]["scores"], found["before"])
    )
    assert now[1] < start[1] and start[1] - now[1] > start[2] - now[2], "the first request hit its own rows most"
    assert then[2] < now[2]


def test_what_leaks_is_measured_before_and_at_the_end_for_every_method(walked):
    _, _, found = walked
    assert set(found["leaks"]) == {"asked", "banned", "the-answer-is"}, "answers of one word cannot be begun with it"
    for walk in found["walks"]:
        assert "leaks" not in walk["steps"][0]
        for end in (walk["steps"][1], walk["batch"]):
            assert set(end["leaks"]) == set(found["leaks"])
            assert end["leaks"]["asked"]["value"] == pytest.approx(end["scores"]["probability@forget"]["value"])
            assert all(0 <= leak["value"] <= 1 and leak["n"] == 8 for leak in end["leaks"].values())
    asked, banned = (found["walks"][1]["steps"][1]["leaks"][name]["value"] for name in ("asked", "banned"))
    assert banned != asked


def test_requests_of_all_entities_whose_subjects_are_those_of_the_batch(plan, monkeypatch):
    """No row says its entity, and no request says a name often enough to be found in it alone."""
    names = ["Ada"] * 3 + ["they"] + ["Bo"] * 3 + ["they"]
    rows = [
        replace(row, prompt=f"Is {name}'s {i}?", meta={"entity": f"e{i // 4}"})
        for i, (name, row) in enumerate(zip(names, facts().forget, strict=True))
    ]
    real, seen = experiment.unlearn, []

    def watched(run, method, lm, data):
        seen.append([(row.entity, row.meta["subject"]) for row in data.forget])
        return real(run, method, lm, data)

    monkeypatch.setattr(experiment, "unlearn", watched)
    file = f"{plan.out}-rows.jsonl"
    Path(file).write_text("\n".join(json.dumps(to_row(row)) for row in rows) + "\n")
    plan = replace(plan, out=f"{plan.out}-entities", data=replace(plan.data, forget=file))
    folder = sequential(plan, [TURN], requests=2, rows=4)
    found = json.loads((folder / "sequential.json").read_text())
    assert (found["entities"], found["without_subject"]) == (2, 2)
    every = [("e0", "Ada"), ("e1", "Bo")] * 3 + [("e0", ""), ("e1", "")]
    assert seen == [every[:4], every[4:], every]
    assert all("changed_share" in step for step in found["walks"][0]["steps"])
    assert "about 2 entities, and 2 of 8 (25 %) name no subject" in (folder / "sequential.md").read_text()


def test_the_page_of_requests(walked):
    folder, _, _ = walked
    page = (folder / "sequential.md").read_text()
    for words in (
        "| unierase, one after another |",
        "| grad-ascent, batch |",
        "2 requests of 4 rows",
        "unlearning token",
        "| before | ",
        "| tokens banned |",
        "raw, retain",
    ):
        assert words in page
    assert (folder / "sequential.svg").read_text().count("<svg") == 1
    assert "still forgotten" in (folder / "sequential.html").read_text()
    names = [row.question for row in facts().forget]
    assert not any(name in (folder / "sequential.json").read_text() for name in names)


def test_what_is_gone_cannot_be_gone_on_from(walked, plan):
    folder, _, _ = walked
    about = json.loads((folder / "manifest.json").read_text())
    about["stages"] = [s for s in about["stages"] if s["name"] != "unierase request 2"]
    (folder / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(DamagedError, match="is gone"):
        sequential(plan, METHODS, requests=2, rows=4)


def test_what_is_left_of_the_first_request():
    def scores(value):
        return {"forgetting-effect@request-1": {"value": value}}

    steps = [{"scores": scores(0.7)}, {"scores": scores(0.9)}, {"scores": scores(0.45)}]
    assert still_forgotten(scores(0.2), steps) == pytest.approx(0.5)
    assert math.isnan(still_forgotten(scores(0.7), steps))


def test_one_row_at_a_time(plan):
    plan = replace(plan, out=f"{plan.out}-precise")
    folder = precise(plan, ALONE, rows=2)
    found = json.loads((folder / "precise.json").read_text())
    assert (found["entities"], found["without_subject"]) == (2, 0)
    assert [row["subject"] for row in found["rows"]] == [1, 2]
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("found.json")}
    assert len(written) == 4
    for walk in found["walks"]:
        for row, trial in zip(found["rows"], walk["trials"], strict=True):
            assert trial["id"] == row["id"] and trial["seconds"] >= 0
            assert set(trial["leaks"]) == set(row["leaks"]) == {"asked", "banned", "the-answer-is"}
            assert row["before"]["probability@forget"]["n"] == 1 and row["before"]["probability@subject"]["n"] == 3
            assert trial["scores"]["probability@forget"]["value"] != row["before"]["probability@forget"]["value"]
    assert precise(plan, ALONE, rows=2) == folder
    assert written == {path: path.stat().st_mtime_ns for path in folder.rglob("found.json")}
    page = (folder / "precise.md").read_text()
    assert "| grad-ascent |" in page and "over-forgetting" in page and "2 rows of 2 subjects" in page
    assert "| tokens banned |" in page
    assert not list(folder.glob("*/row-*/model"))


def test_over_forgetting_is_what_goes_with_the_row():
    def scores(row, subject):
        return {"forgetting-effect@forget": {"value": row}, "forgetting-effect@subject": {"value": subject}}

    rows = [{"before": scores(0.1, 0.1)}, {"before": scores(0.3, 0.1)}, {"before": scores(0.0, 0.0)}]
    trials = [{"scores": scores(0.9, 0.3)}, {"scores": scores(0.7, 0.5)}, {"collapsed": "broke"}]
    assert over_forgetting(rows, trials) == pytest.approx(0.6 / 1.2)


def test_rows_of_all_subjects_in_turn():
    rows = facts().forget
    chosen = choose(rows, 3, 0)
    assert [row.entity for row in chosen] == ["Ada", "Bo", "Ada"] and len({row.id for row in chosen}) == 3
    assert choose(rows, 3, 1) != chosen and len(choose(rows, 100, 0)) == 8
    assert len(siblings(rows[0], rows)) == 3 and rows[0] not in siblings(rows[0], rows)
    with pytest.raises(PlanError, match="same subject"):
        choose([replace(row, meta={}) for row in rows], 3, 0)


def test_what_makes_no_sense(plan):
    rows = facts().forget
    ids = [row.id for row in rows]  # Ada's four, then Bo's
    dealt = [ids[0], ids[4], ids[1], ids[5], ids[2], ids[6]]
    assert [[row.id for row in part] for part in cut(rows, 2, 3)] == [dealt[:3], dealt[3:]]
    assert [row.id for part in cut([replace(row, meta={}) for row in rows], 2, 4) for row in part] == ids
    with pytest.raises(PlanError, match="need 40 forget rows, and there are 8") as error:
        cut(rows, 10, 4)
    assert error.value.hint == "--requests 2"
    with pytest.raises(PlanError, match="no sequence"):
        cut(rows, 1, 4)
    adapted = replace(plan, model=replace(plan.model, adapter=Adapter(rank=2)))
    for run in (sequential, precise):
        with pytest.raises(PlanError, match="adapter"):
            run(adapted, METHODS)


def test_presets_bring_their_training():
    found = contenders(["people-small/npo", "idk-ap"])
    assert [one.label for one in found] == ["npo", "idk-ap"]
    assert found[0].train.lr == 2e-5 and found[1].train is None
    for names in (["npo", "people-small/npo"], []):
        with pytest.raises(PlanError, match="once each"):
            contenders(names)
