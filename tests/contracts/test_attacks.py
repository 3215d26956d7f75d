"""Every attack in the folder keeps the contract, whether it changes a model, changes questions or only reads."""

import dataclasses
import inspect
import math

import pytest

from unsay import registry
from unsay.attacks._attack import Attack, Inspection
from unsay.config.decode import decode, encode
from unsay.config.plan import Adapter, Plan, Train
from unsay.errors import UnsayError
from unsay.models.adapters import attach
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, tiny_lm

TINY = {  # what takes longer with its defaults than a contract needs
    "benign-finetune": {"rows": (2,), "epochs": 1.0, "adapter": Adapter(rank=2)},
    "full-relearn": {"steps": (1,)},
    "relearn": {"steps": (1,)},
    "retain-finetune": {"steps": (1,)},
    "pruning": {"texts": 4},
    "search-prefix": {"tokens": 2, "evaluations": 4},
}
OTHER_ROWS = {"multi-hop"}
"""Attacks that need rows of another kind than `facts`, and say so."""
NAMES = registry.names("attacks")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty $UNSAY_HOME: what other tests kept must not be found."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


def made(name):
    return registry.load("attacks", name)(**TINY.get(name, {}))


def outcome(attack, lm, seed=0):
    """What an attack gave, as something that can be compared: label → (place, what)."""
    verb = attack.probes if isinstance(attack, Attack) else attack.inspect
    more = {"before": knowing_lm()} if "before" in inspect.signature(verb).parameters else {}
    with Run.temporary(Train(precision="fp32"), seed) as run:  # in bf16, precision has nothing to lose
        found = list(verb(lm, facts(), run, **more))
    assert len({one.label for one in found}) == len(found), "labels are not unique"
    assert all(math.isfinite(one.at) for one in found)
    if isinstance(attack, Attack):
        return {
            one.label: (one.at, one.lm.fingerprint(), {k: list(v) for k, v in (one.splits or {}).items()})
            for one in found
        }
    ids = {row.id for row in facts().forget}
    assert all(one.values.keys() <= ids and all(map(math.isfinite, one.values.values())) for one in found)
    return {one.label: (one.at, dict(one.values)) for one in found}


def test_the_diagnostic_is_no_attack():
    assert "bucket-crossing" not in NAMES and "relearn" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_defaults_header_and_plan(name):
    cls = registry.load("attacks", name)
    attack = cls()
    assert isinstance(attack, Attack) != isinstance(attack, Inspection)
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))
    header = registry.header("attacks", name)
    missing = [part for part in ("Given ", "Paper ", "Limits ") if f"\n{part}" not in header]
    assert not missing, f"the header of {name} lacks {missing}"
    assert "=" in header.partition("\nGiven ")[0], "no formula before the parts"
    assert isinstance(getattr(attack, "axis", None), str)
    plan = Plan(attacks=(made(name),))
    assert decode(encode(plan)).attacks == plan.attacks


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    attack, lm = made(name), tiny_lm()
    before = lm.fingerprint()
    try:
        found = outcome(attack, lm)
    except UnsayError as error:
        assert name in OTHER_ROWS, f"{name} refuses these rows: {error}"
        assert error.hint, f"{name} refuses these rows without a hint: {error.message}"
        return
    assert name not in OTHER_ROWS
    assert found
    assert lm.fingerprint() == before, "the model under attack was changed"
    assert outcome(attack, lm) == found, "the same seed gave something else"
    adapter = attach(tiny_lm(seed=1), Adapter(rank=2))
    before = adapter.fingerprint()
    try:
        other = outcome(attack, adapter)
    except UnsayError as error:
        assert error.hint, f"{name} refuses an adapter without a hint: {error.message}"
        other = outcome(attack, tiny_lm(seed=1))
    assert adapter.fingerprint() == before, "the adapter under attack was changed"
    places = [{label: at for label, (at, *_) in one.items()} for one in (found, other)]
    assert places[0] == places[1], "the points of two models cannot be paired"
