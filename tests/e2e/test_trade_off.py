"""The trade-off experiment on a tiny model: every walk, what is chosen, the page, a second call."""

import json
import math

import pytest

from unsay.benchmarks.people import People
from unsay.config.plan import ModelSpec, Plan, Teach, Train
from unsay.errors import PlanError
from unsay.experiments.trade_off import QUALITY, UTILITY, trade_off
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.npo import NPO
from unsay.selection import choose_epoch
from unsay.testing import tiny_lm


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    root = tmp_path_factory.mktemp("trade-off")
    tiny_lm().save(root / "tiny")
    train = Train(lr=1e-3, epochs=3, batch=10, checkpoint_every=0)
    plan = Plan(
        model=ModelSpec(path=str(root / "tiny")),
        benchmark=People(size="small"),
        teach=Teach(train=Train(lr=1e-2, epochs=2, batch=20, checkpoint_every=0)),
        train=train,
        out=str(root / "run"),
    )
    methods = (GradAscent(), NPO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", str(root / "home"))
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


def test_what_it_refuses(tmp_path):
    plan = Plan(benchmark=People(size="small"), train=Train(epochs=1), out=str(tmp_path / "run"))
    with pytest.raises(PlanError, match="at least 2"):
        trade_off(plan, (NPO(),))
    with pytest.raises(PlanError, match="nothing to compare"):
        trade_off(plan, ())
    assert not (tmp_path / "run").exists()
