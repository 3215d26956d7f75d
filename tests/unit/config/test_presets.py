"""Every preset resolves to a plan that can be printed and read again; published benchmarks say what they must."""

from importlib.resources import files

import pytest

from unsay import registry
from unsay.augment.assemble import generic
from unsay.config import presets
from unsay.config.decode import decode, encode, read_plan, resolved
from unsay.data.generic import generic_rows

PUBLISHED = {
    "knowundo": "knowundo",
    "muse-news": "muse",
    "muse-books": "muse",
    "wmdp-bio": "wmdp",
    "wmdp-cyber": "wmdp",
    "rwku": "rwku",
    "closer-look": "closer-look",
    "tofu-forget10": "tofu",
}


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_plan(name):
    plan, sources = read_plan(name, [])
    assert decode(encode(resolved(plan))) == resolved(plan), "the printed plan is another one"
    assert plan.name == name.rpartition("/")[2] or "/" in name
    assert any(name in source for source in sources.values())
    first = presets.summary(name)
    assert first and not first.startswith("name:"), "the first line is the comment that unsay list shows"


@pytest.mark.parametrize(("name", "benchmark"), PUBLISHED.items())
def test_published_benchmarks(name, benchmark):
    plan, _ = read_plan(name, [])
    assert registry.name_of(type(plan.benchmark)) == benchmark
    if benchmark in ("muse", "wmdp"):
        assert plan.model.template == "plain", "plain texts, and base models that have no template"
    if benchmark == "muse":
        corpus = plan.benchmark.corpus.capitalize()
        assert (plan.model.path, plan.retrained) == tuple(
            f"muse-bench/MUSE-{corpus}_{which}" for which in ("target", "retrain")
        )
    # Where no model has learned the rows already, the run teaches them or the model read of them in pretraining.
    assert (plan.teach is not None) == (benchmark == "knowundo")


def test_every_benchmark_with_files_of_others_has_a_preset():
    shown = {registry.name_of(type(read_plan(name, [])[0].benchmark)) for name in presets.names() if "/" not in name}
    assert shown >= set(registry.names("benchmarks")) - {"custom"}


@pytest.mark.parametrize(("name", "ratio"), [("knowundo-relearn-paper", 1.0), ("knowundo-relearn-code", 1.2)])
def test_relearn_as_published(name, ratio):
    """No chat template, as its authors; as many generic rows as the preset says, whatever the pool."""
    plan, _ = read_plan(name, [])
    assert plan.model.template == "plain" == read_plan("knowundo", [])[0].model.template, "comparable with baselines"
    augment = plan.method.augment
    assert augment.ratio == ratio and augment.oversample and augment.generic is None
    pool = generic_rows()
    rows, note = generic(pool, int(ratio * 4000), plan.seed, oversample=augment.oversample)
    assert len(rows) == ratio * 4000 and "times each" in note
    assert "repeated" in (files("unsay.presets") / f"{name}.yaml").read_text("utf-8")


def test_settings_of_a_preset_can_be_changed():
    plan, _ = read_plan("muse-news", ["benchmark.chain=sust", "benchmark.step=2", "model.path=runs/step-1/model"])
    assert (plan.benchmark.chain, plan.benchmark.step, plan.model.path) == ("sust", 2, "runs/step-1/model")
    assert plan.model.template == "plain"
