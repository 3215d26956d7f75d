"""The trade-off experiment on a tiny model: every walk, what is chosen, the page, a second call, walks that fail."""

import dataclasses
import json
import math

import pytest

from unsay.benchmarks.people import People
from unsay.config.plan import Adapter, ModelSpec, Plan, Teach, Train
from unsay.errors import CollapseError, MethodError, PlanError
from unsay.experiments.trade_off import QUALITY, UTILITY, trade_off
from unsay.methods.eul import EUL
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.npo import NPO
from unsay.methods.task_vector import TaskVector
from unsay.models.adapters import adapted
from unsay.selection import choose_epoch
from unsay.testing import tiny_lm


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("trade-off")
    tiny_lm().save(root / "tiny")
    return Plan(
        model=ModelSpec(path=str(root / "tiny")),
        benchmark=People(size="small"),
        teach=Teach(train=Train(lr=1e-2, epochs=2, batch=20, checkpoint_every=0)),
        train=Train(lr=1e-3, epochs=3, batch=10, checkpoint_every=0),
        out=str(root / "run"),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Taught models, shared by the tests of this module."""
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def walked(plan, home):
    methods = (GradAscent(), NPO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", home)
        folder = trade_off(plan, methods, seeds=(0, 1), alphas=(0.5, "auto"))
        written = (folder / "trade-off.json").stat().st_mtime_ns
        walks = {path.name: path.stat().st_mtime_ns for path in folder.glob("walk-*.json")}
        again = trade_off(plan, methods, seeds=(0, 1), alphas=(0.5, "auto"))
    assert again == folder and (folder / "trade-off.json").stat().st_mtime_ns > written
    assert walks == {path.name: path.stat().st_mtime_ns for path in folder.glob("walk-*.json")}
    return folder, json.loads((folder / "trade-off.json").read_text())


def test_every_method_and_seed_is_walked(walked):
    _, found = walked
    assert [(w["method"], w["seed"]) for w in found["walks"]] == [
        ("grad-ascent", 0),
        ("npo", 0),
        ("grad-ascent", 1),
        ("npo", 1),
    ]
    for walk in found["walks"]:
        assert [point["epoch"] for point in walk["epochs"]] == [1, 2, 3]
        assert [point["automatic"] for point in walk["uipe"]] == [False, True]
        scores = [point["scores"] for point in (*walk["epochs"], *walk["uipe"])]
        assert all(math.isfinite(s[name]["value"]) for s in scores for name in (QUALITY, UTILITY))
        early = [point["scores"] for point in walk["epochs"][:-1]]
        chosen = choose_epoch(
            [s[QUALITY]["value"] for s in early],
            [s[UTILITY]["value"] for s in early],
            found["before"][UTILITY]["value"],
        )
        assert (walk["epoch"], walk["keep"]) == (chosen.epoch, chosen.keep)
    one, other = (found["walks"][i]["epochs"][0]["scores"]["probability@forget"]["value"] for i in (0, 1))
    assert one != other


def test_extrapolation_goes_the_way_of_the_base_epoch(walked):
    _, found = walked
    walk = found["walks"][0]
    name = "probability@forget"
    base = walk["epochs"][walk["epoch"] - 1]["scores"][name]["value"]
    further = walk["uipe"][0]["scores"][name]["value"]
    assert (further < base) == (base < found["before"][name]["value"])
    assert further != base


def test_the_page_says_what_was_compared_and_weights_are_gone(walked):
    folder, _ = walked
    page = (folder / "trade-off.md").read_text()
    for words in ("| grad-ascent | one more epoch |", "| npo | UIPE, α auto |", "Means over 2 seeds", "utility ×"):
        assert words in page
    assert (folder / "trade-off.svg").read_text().count("<svg") == 1
    assert not list(folder.rglob("*.safetensors"))


def test_failing_walks_are_rows_and_the_others_go_on(plan, home, tmp_path, monkeypatch):
    """GA breaks in its second epoch, EUL has no epochs of its own, the search finds nothing for NPO."""
    monkeypatch.setenv("UNSAY_HOME", home)
    unlearn, trained = GradAscent.unlearn, []

    def breaks(self, lm, data, run):
        trained.append("grad-ascent")
        seen = run.each_epoch

        def stop(epoch, now):
            if epoch == 2:
                raise CollapseError("the loss is not finite")
            seen(epoch, now)

        run.each_epoch = stop
        return unlearn(self, lm, data, run)

    def nothing(*args, **more):
        raise MethodError("even the smallest step breaks a bound")

    monkeypatch.setattr(GradAscent, "unlearn", breaks)
    monkeypatch.setattr("unsay.training.coefficient.farthest", nothing)
    plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, epochs=2), out=str(tmp_path / "run"))
    for _ in range(2):
        folder = trade_off(plan, (GradAscent(), EUL(), NPO()), seeds=(0,), alphas=(0.5, "auto"))
    assert trained == ["grad-ascent"], "a walk that failed is finished"
    one, two, three = json.loads((folder / "trade-off.json").read_text())["walks"]
    assert "before its second epoch" in one["note"] and len(one["epochs"]) == 1 and "epoch" not in one
    assert "does not train by epochs" in two["note"] and two["epochs"] == []
    assert three["uipe"][1] == {"alpha": None, "automatic": True, "note": "even the smallest step breaks a bound"}
    assert math.isfinite(three["uipe"][0]["scores"][UTILITY]["value"])
    page = (folder / "trade-off.md").read_text()
    assert "`grad-ascent`: Seed 0 has no base epoch: the method broke the model" in page
    assert "Seed 0 has no automatic α" in page and "| npo | UIPE, α = 0.5 |" in page


def test_an_adapter_in_the_plan_is_trained(plan, home, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", home)
    unlearn, seen = GradAscent.unlearn, []

    def watched(self, lm, data, run):
        seen.append(adapted(lm.model))
        return unlearn(self, lm, data, run)

    monkeypatch.setattr(GradAscent, "unlearn", watched)
    model = dataclasses.replace(plan.model, adapter=Adapter(rank=2))
    train = dataclasses.replace(plan.train, epochs=2, lr=1e-2)
    folder = trade_off(
        dataclasses.replace(plan, model=model, train=train, out=str(tmp_path / "run")), (GradAscent(),),
        seeds=(0,), alphas=(0.5,),
    )  # fmt: skip
    assert seen == [True]
    (walk,) = json.loads((folder / "trade-off.json").read_text())["walks"]
    name = "probability@forget"
    base, further = (walk[kind][0]["scores"][name]["value"] for kind in ("epochs", "uipe"))
    assert walk["epoch"] == 1 and further < base


@pytest.mark.parametrize(
    ("train", "given", "error", "said"),
    [
        ({"epochs": 1}, {}, PlanError, "at least 2"),
        ({"max_steps": 4}, {}, PlanError, "max_steps 4"),
        ({}, {"methods": ()}, PlanError, "nothing to compare"),
        ({}, {"methods": (NPO(), NPO(beta=0.5))}, PlanError, "methods: npo, npo"),
        ({}, {"seeds": (0, 1, 0)}, PlanError, "seeds: 0, 1, 0"),
        ({}, {"alphas": (1.0, 1.0)}, PlanError, "alphas"),
        ({}, {"methods": (NPO(), TaskVector())}, MethodError, "task-vector does not train by epochs"),
    ],
)
def test_what_it_refuses(tmp_path, train, given, error, said):
    plan = Plan(benchmark=People(size="small"), train=Train(**train), out=str(tmp_path / "run"))
    with pytest.raises(error, match=said):
        trade_off(plan, **({"methods": (NPO(),)} | given))
    assert not (tmp_path / "run").exists()
