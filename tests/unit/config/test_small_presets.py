"""Every method has a preset that shows it on people-small."""

import pytest

from unsay import registry
from unsay.config import presets
from unsay.config.decode import read_plan

NOT_UNLEARNING = {"fine-tune", "retrain"}


@pytest.mark.parametrize("name", sorted(set(registry.names("methods")) - NOT_UNLEARNING))
def test_every_method_has_a_preset(name):
    plan, _ = read_plan(f"people-small/{name}", [])
    assert registry.name_of(type(plan.method)) == name
    assert registry.name_of(type(plan.benchmark)) == "people-small"
    demo, _ = read_plan("demo", [])
    assert plan.teach == demo.teach and plan.model == demo.model, "the taught models are shared"
    assert name in presets.summary(f"people-small/{name}")


def test_presets_of_a_folder_are_listed_by_path():
    assert {"demo", "people-small/npo"} <= set(presets.names())
