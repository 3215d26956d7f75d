"""Logit lens, activation patching and linear probe as attacks, on models whose fact sits in one layer."""

import dataclasses

import pytest
import torch

from unsay.attacks._attack import Inspection
from unsay.attacks.activation_patching import ActivationPatching, uds
from unsay.attacks.linear_probe import LinearProbe
from unsay.attacks.logit_lens import LogitLens
from unsay.data.example import Example, ForgetData
from unsay.errors import MethodError, PlanError
from unsay.models._tiny import tiny_lm
from unsay.models.patches import with_guard
from unsay.runs.run import Run
from unsay.testing import facts

LAYER = 2  # where conftest's model holds the fact


def read(attack, lm, data, before=None):
    return list(attack.inspect(lm, data, Run.temporary(), before=before))


def mean(finding):
    return sum(finding.values.values()) / len(finding.values)


@pytest.mark.parametrize("attack", [LogitLens(), ActivationPatching(), LinearProbe()])
def test_they_are_inspections(attack):
    assert isinstance(attack, Inspection) and attack.axis.startswith("layer, ")
    assert "axis" not in {field.name for field in dataclasses.fields(attack)}  # not a setting


def test_the_lens_finds_the_layer_of_the_fact(knows, never_knew, data):
    before = knows.fingerprint()
    found = read(LogitLens(), knows, data)
    control = read(LogitLens(), never_knew, data)
    assert knows.fingerprint() == before
    assert [f.at for f in found] == [1, 2, 3, 4] and set(found[0].values) == {row.id for row in data.forget}
    gains = [mean(f) - mean(c) for f, c in zip(found, control, strict=True)]
    assert gains[0] == pytest.approx(0, abs=1e-5) and min(gains[LAYER - 1 :]) > 1
    ranks = read(LogitLens(read="rank"), knows, data)
    assert mean(ranks[-1]) == 0 and mean(ranks[0]) < -1


def test_the_last_layer_of_the_lens_is_the_model_itself():
    lm, data = tiny_lm(), facts()
    last = read(LogitLens(), lm, ForgetData(forget=data.forget))[-1]
    row = next(row for row in data.forget if row.answer.startswith("To"))
    encoded = lm.template.encode(row.prompt, row.answer)
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([encoded.input_ids])).logits[0]
    at = encoded.answer_start
    said = float(logits[at - 1].log_softmax(-1)[encoded.input_ids[at]])
    assert last.values[row.id] == pytest.approx(said, abs=1e-4)


def test_a_guard_is_dropped(knows, data):
    guarded = read(LogitLens(), with_guard(knows, "Say nothing."), data)
    assert [f.values for f in guarded] == [f.values for f in read(LogitLens(), knows, data)]


def test_patching_finds_the_layer_of_the_fact(knows, never_knew, data):
    attack = ActivationPatching(every=1)
    control = read(attack, never_knew, data, knows)
    assert [f.at for f in control] == [1, 2, 3, 4]
    assert mean(control[0]) == pytest.approx(0, abs=1e-5)
    assert all(mean(f) < -0.5 for f in control[LAYER - 1 :])
    intact = read(attack, knows, data, knows)
    assert all(mean(f) == pytest.approx(0, abs=1e-5) for f in intact)
    assert [f.at for f in read(ActivationPatching(every=3), knows, data, knows)] == [1, 4]
    ids = {row.id for row in data.forget}
    assert uds(control, control) == pytest.approx(dict.fromkeys(ids, 1.0))
    assert uds(control, intact) == pytest.approx(dict.fromkeys(ids, 0.0), abs=1e-4)
    assert uds(intact, control) == {}  # nothing that the control lacks
    half = [dataclasses.replace(f, values={i: v / 2 for i, v in f.values.items()}) for f in control]
    assert uds(control, half) == pytest.approx(dict.fromkeys(ids, 0.5))


def test_uds_by_hand():
    """Layers that lose 0.04, 1 and 3; the unlearned model loses 5 (clipped) and 0: (1·1 + 3·0) / 4."""
    from unsay.attacks._attack import Finding

    control = [Finding(f"layer-{n}", n, {"a": -value}) for n, value in ((1, 0.04), (2, 1.0), (3, 3.0))]
    other = [Finding(f"layer-{n}", n, {"a": -value}) for n, value in ((1, 9.0), (2, 5.0), (3, -1.0))]
    assert uds(control, other) == {"a": pytest.approx(0.25)}


def test_patching_refuses_what_it_cannot_compare(knows, data):
    with pytest.raises(MethodError, match="before unlearning"):
        read(ActivationPatching(), knows, data)
    with pytest.raises(MethodError, match="layers of width"):
        read(ActivationPatching(), tiny_lm(), data, knows)
    with pytest.raises(MethodError, match="other tokens"):
        read(ActivationPatching(), tiny_lm(template="plain"), data, knows)
    with pytest.raises(MethodError, match="no forget rows"):
        read(ActivationPatching(), knows, ForgetData(), knows)


def classed(n):
    """Rows whose class the question says."""
    names = [chr(65 + i) + "o" for i in range(n)]
    return [
        Example(
            f"{name} likes {'tea' if i % 2 else 'rum'}?",
            "So they say.",
            meta={"entity": name, "answer_class": "tea" if i % 2 else "rum"},
        )
        for i, name in enumerate(names)
    ]


def test_the_probe_reads_what_is_in_the_states():
    rows = classed(16)
    found = read(LinearProbe(every=2), tiny_lm(), ForgetData(forget=rows[:8], retain=rows[8:]))
    assert [f.at for f in found] == [1, 3]
    assert set(found[0].values) == {row.id for row in rows[:8]}
    assert mean(found[-1]) > 0.3 and "accuracy" in found[-1].note
    lost = [dataclasses.replace(row, prompt="Who?") for row in rows]
    lost = [dataclasses.replace(row, id=f"{i}") for i, row in enumerate(lost)]
    assert abs(mean(read(LinearProbe(), tiny_lm(), ForgetData(forget=lost))[-1])) < 0.3


def test_the_probe_takes_the_first_token_of_the_fact_where_no_class_is_given():
    rows = [
        Example(f"Where is {name}?", f"I think in {town}.", meta={"entity": name})
        for name, town in zip(["Ada", "Bo", "Cleo", "Dan"], ["Rome", "Oslo", "Rome", "Oslo"], strict=True)
    ]
    found = read(LinearProbe(), tiny_lm(), ForgetData(forget=rows))
    assert "2 classes, 4 of 4 rows, 4 entities" in found[0].note


def test_the_probe_refuses_rows_without_classes():
    rows = classed(8)
    with pytest.raises(MethodError, match="0 classes"):
        read(LinearProbe(label="colour"), tiny_lm(), ForgetData(forget=rows))
    alone = [dataclasses.replace(row, meta={**row.meta, "answer_class": row.entity}) for row in rows]
    with pytest.raises(MethodError, match="answer_class"):
        read(LinearProbe(), tiny_lm(), ForgetData(forget=alone))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitLens(read="logits"),
        lambda: ActivationPatching(every=0),
        lambda: LinearProbe(folds=1),
        lambda: LinearProbe(ridge=0),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(PlanError):
        make()
