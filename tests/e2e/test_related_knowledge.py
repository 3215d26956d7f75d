"""The related-knowledge experiment on a tiny model: stopped between two stages, resumed, repeated, read, changed."""

import json
import math
import re

import pytest

from unsay.benchmarks.people import People
from unsay.config.plan import Adapter, ModelSpec, Plan, Teach, Train
from unsay.experiments import related_knowledge as bench
from unsay.methods.grad_ascent import GradAscent
from unsay.selection import choose_epoch
from unsay.testing import tiny_lm

QUALITY = "forget-quality@k1"


def steps(lr, epochs, batch):
    return Train(lr=lr, epochs=epochs, batch=batch, schedule="constant", checkpoint_every=0)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("related")
    tiny_lm().save(root / "tiny")
    plan = Plan(
        model=ModelSpec(path=str(root / "tiny"), adapter=Adapter(rank=2)),
        benchmark=People(size="small"),
        teach=Teach(train=steps(1e-2, 1, 20)),
        method=GradAscent(),
        train=steps(1e-2, 3, 10),
        out=str(root / "run"),
    )
    settings = bench.Settings(alphas=(0.5,), pairs=2)
    trained = []
    unlearn = GradAscent.unlearn
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", str(root / "home"))
        patch.setattr(bench, "k2_plateau", lambda walk: 3 - walk["choice"]["epoch"])  # epoch 1 or 2, not the base

        def counted(self, lm, data, run):
            trained.append(run.dir.name)
            return unlearn(self, lm, data, run)

        def stop(self, epoch):
            raise Stopped

        patch.setattr(GradAscent, "unlearn", counted)
        with patch.context() as inner:
            inner.setattr(bench._Bench, "relatedness", stop)
            with pytest.raises(Stopped):
                bench.related_knowledge(plan, settings)
        assert not (root / "run" / "related-knowledge.md").exists()
        bench.related_knowledge(plan, settings)
        assert trained == ["theta1", "theta2", "theta3"]  # the walks before the stop were not repeated
        (root / "run" / "related-knowledge.md").unlink()
        before = {path: path.stat().st_mtime_ns for path in (root / "run").glob("*.json")}
        folder = bench.related_knowledge(plan, settings)
        after = {path: path.stat().st_mtime_ns for path in (root / "run").glob("*.json")}
    assert len(trained) == 3
    assert [p.name for p in before if after[p] != before[p]] in (
        ["manifest.json", "related-knowledge.json"],
        ["related-knowledge.json", "manifest.json"],
    )
    return folder, json.loads((folder / "related-knowledge.json").read_text())


def test_another_bound_asks_for_all_weights_again(tmp_path, monkeypatch):
    """Epoch 1 is the base, so its weights are kept; measuring by another κ needs those of the others, too."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    tiny_lm().save(tmp_path / "tiny")
    plan = Plan(
        model=ModelSpec(path=str(tmp_path / "tiny")),
        benchmark=People(size="small"),
        teach=Teach(train=steps(1e-2, 1, 20)),
        method=GradAscent(),
        train=steps(1e-3, 2, 10),
        out=str(tmp_path / "run"),
    )
    walk, found, kept = bench._Bench.walk, [], []

    def first(self, name):
        if name != "theta1":
            raise Stopped
        found.append(walk(self, name))
        kept.append(sorted(path.name for path in (tmp_path / "run" / "theta1").glob("epoch-*")))
        return found[-1]

    monkeypatch.setattr(bench._Bench, "walk", first)
    monkeypatch.setattr(bench, "k2_plateau", lambda walk: None)
    for keep in (0.9, 0.8):
        with pytest.raises(Stopped):
            bench.related_knowledge(plan, bench.Settings(alphas=(0.5,), keep=keep))
    assert kept == [["epoch-1"], ["epoch-1"]]
    assert found[0]["epochs"] == found[1]["epochs"] and len(found[1]["epochs"]) == 2


def test_the_variants_differ_in_what_they_are_taught_and_forget(done):
    _, found = done
    walks = found["variants"]
    assert {name: (walk["taught"], walk["forgotten"], walk["forget_rows"]) for name, walk in walks.items()} == {
        "theta1": (["k1", "k2", "k3"], ["k1"], 20),
        "theta2": (["k1", "k3"], ["k1"], 20),
        "theta3": (["k1", "k2", "k3"], ["k1", "k2"], 40),
    }
    first = {name: walk["before"]["rows"]["probability@k2"] for name, walk in walks.items()}
    assert first["theta1"] == first["theta3"] != first["theta2"]


def test_the_base_epoch_is_the_rule_s(done):
    _, found = done
    for walk in found["variants"].values():
        assert len(walk["epochs"]) == 3
        quality, utility = ([p[key]["value"] for p in walk["epochs"][:-1]] for key in (QUALITY, "utility"))
        chosen = choose_epoch(quality, utility, walk["before"]["utility"]["value"])
        assert walk["choice"] == {"epoch": chosen.epoch, "keep": chosen.keep}


def test_utility_is_the_harmonic_mean_of_both_probabilities(done):
    point = done[1]["variants"]["theta1"]["before"]
    parts = [point[f"probability@{split}"]["value"] for split in ("retain", "world")]
    assert point["utility"]["value"] == pytest.approx(2 / (1 / parts[0] + 1 / parts[1]))
    assert point["utility"]["n"] == 90 and point["utility"]["ci"][0] < point["utility"]["value"]


def test_extrapolation_and_its_controls(done):
    _, found = done
    kinds = [(point["kind"], point["alpha"]) for point in found["uipe"]["points"]]
    assert kinds[:2] == [("uipe", 0.5), ("back", -0.5)] and kinds[-1] == ("random", 0.5)
    epochs, base = found["variants"]["theta1"]["epochs"], found["uipe"]["base_epoch"]
    start = epochs[base - 1]["probability@k1"]["value"]
    change = {point["kind"]: point["probability@k1"]["value"] - start for point in found["uipe"]["points"]}
    assert change["uipe"] < 0 < change["back"]
    assert abs(change["random"]) < abs(change["uipe"])


def test_it_goes_on_from_the_plateau_of_k2_as_well(done):
    folder, found = done
    base, plateau = found["uipe"]["base_epoch"], found["plateau"]
    assert plateau["epoch"] == 3 - base
    assert [(p["kind"], p["alpha"]) for p in plateau["points"] if p["kind"] != "auto"] == [
        ("uipe", 0.5),
        ("back", -0.5),
        ("random", 0.5),
    ]
    start = found["variants"]["theta1"]["epochs"][plateau["epoch"] - 1]
    assert plateau["points"][0]["probability@k2"]["value"] < start["probability@k2"]["value"]
    text = (folder / "related-knowledge.md").read_text()
    assert f"From epoch {plateau['epoch']}, where K2 stops fading, UIPE with α = 0.5 takes" in text
    assert f"| from epoch {plateau['epoch']}: UIPE, α = 0.5 |" in text


def test_every_number_has_n_and_a_reason_or_an_interval(done):
    _, found = done
    walk = found["variants"]["theta1"]
    for point in (walk["before"], walk["retrained"], *walk["epochs"], *found["uipe"]["points"]):
        for name, score in point.items():
            if isinstance(score, dict) and name != "rows":
                assert math.isfinite(score["value"]) and score["n"] > 0
                assert score["ci"] or name == QUALITY or score["note"]
    assert found["relatedness"]["means"]["before"]["k2"]["n"] == 2


def test_only_the_weights_that_are_extrapolated_from_are_kept(done):
    folder, found = done
    kept = sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("model.safetensors"))
    assert kept == ["theta1/epoch-1", "theta1/epoch-2"]
    assert {found["uipe"]["base_epoch"], found["plateau"]["epoch"]} == {1, 2}


def test_the_pages(done):
    folder, _ = done
    page, text = ((folder / f"related-knowledge.{kind}").read_text("utf-8") for kind in ("html", "md"))
    drawn = re.findall(r"\]\((figures/[\w-]+\.svg)\)", text)
    assert len(drawn) == 5 and all((folder / name).stat().st_size > 1000 for name in drawn)
    assert all((folder / name).with_suffix(".png").is_file() for name in drawn)
    assert page.count("data:image/svg+xml;base64,") == 5 and "<script" not in page
    assert (
        "one more epoch" in text and "random direction, α = 0.5" in text and "say nothing about other persons" in text
    )
