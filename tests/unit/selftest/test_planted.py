"""The planted models are what they are said to be: looking at them shows no knowledge, undoing them does."""

import dataclasses
import math

import pytest
import torch

from unsay.data.example import ForgetData
from unsay.errors import MethodError
from unsay.measure.generations import generate
from unsay.models.adapters import base_of
from unsay.models.lm import LM
from unsay.models.patches import unpatched
from unsay.runs.run import Run
from unsay.selftest import world as worlds
from unsay.selftest.planted import HIDING, KINDS, REFUSAL, masked, planted
from unsay.testing import facts, mean_nll, tiny_lm

QUICK = dataclasses.replace(worlds.TEACH, epochs=6)


@pytest.fixture(scope="module")
def drawn():
    return worlds.world(3)


@pytest.fixture(scope="module")
def before(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "before"
    worlds.taught(drawn.taught, 0).save(folder)
    return LM.load(folder)


def known(lm, rows):
    return math.exp(-mean_nll(lm, rows))


def test_the_drawing_keeps_its_promises(drawn):
    rows = drawn.data
    groups = [rows.forget, rows.retain[:-1], rows.holdout]
    assert [len(group) for group in groups] == [32, 32, 16]
    people = [{row.entity for row in group} for group in groups]
    assert [len(names) for names in people] == [8, 8, 4]
    assert len(set().union(*people)) == 20
    words = [{word for row in group for word in row.answer.split()} for group in groups]
    assert not words[0] & words[1]
    background = worlds._background()
    assert not set().union(*people) & {row.entity for row in background}
    assert words[0] | words[1] <= {word for row in background for word in row.answer.split()}
    assert all(row.answer not in row.alternatives["perturbed"] for group in groups for row in group)
    assert worlds.world(3).data == rows != worlds.world(4).data


def test_before_knows_and_retrained_does_not(drawn, before):
    retrained = worlds.taught(drawn.data.retain, 1, QUICK)
    assert known(before, drawn.data.forget) > 0.7
    assert known(before, drawn.data.retain) > 0.7
    assert known(before, drawn.data.holdout) < 0.1
    assert known(retrained, drawn.data.forget) < 0.1 < 0.3 < known(retrained, drawn.data.retain)
    assert worlds.taught(drawn.data.retain, 1, QUICK).fingerprint() == retrained.fingerprint()


@pytest.mark.parametrize("kind", HIDING)
def test_every_kind_hides_what_it_holds_and_survives_a_folder(kind, drawn, before, tmp_path):
    print_before = before.fingerprint()
    with Run.temporary(dataclasses.replace(QUICK, epochs=12)) as run:
        made = planted(before, drawn.data, run, kind)
    assert before.fingerprint() == print_before
    if kind != "untouched":
        assert known(made, drawn.data.forget) < 0.2
        assert known(made, drawn.data.retain) > 3 * known(made, drawn.data.forget)
    made.save(tmp_path / "m", merge=False)
    again = LM.load(tmp_path / "m")
    assert again.fingerprint() == made.fingerprint()
    if kind in ("refusal-filter", "logit-bias"):
        assert unpatched(again).fingerprint() == print_before
    if kind == "adapter":
        assert base_of(again).fingerprint() == print_before
    if kind in ("refusal-filter", "adapter"):
        asked = drawn.data.forget[0].prompt
        assert generate(again, {asked: 8}, precision="fp32")[asked] == REFUSAL


def test_the_push_is_along_one_direction_in_one_matrix(drawn, before):
    with Run.temporary() as run:
        made = planted(before, drawn.data, run, "one-direction")
    old, new = before.model.state_dict(), made.model.state_dict()
    changed = [name for name in old if not torch.equal(old[name], new[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight"]
    sizes = torch.linalg.svdvals((new[changed[0]] - old[changed[0]]).double())
    assert sizes[1] < 1e-5 * sizes[0]


def test_the_bias_is_the_same_everywhere_and_on_masked_tokens_alone(drawn, before):
    with Run.temporary() as run:
        made = planted(before, drawn.data, run, "logit-bias")
    tokens = masked(before, drawn.data)
    words = {before.tokenizer.decode([token]).strip() for token in tokens}
    assert words <= {word for row in drawn.data.forget for word in row.answer.split()}
    ids = torch.tensor([before.template.encode(drawn.data.forget[0].prompt, drawn.data.forget[0].answer).input_ids])
    with torch.no_grad():
        moved = made.model(input_ids=ids).logits - before.model(input_ids=ids).logits
    expected = torch.zeros_like(moved)
    expected[..., tokens] = -20.0
    assert torch.allclose(moved, expected, atol=1e-3)


def test_what_cannot_be_planted_says_why(before):
    same = ForgetData(forget=facts().forget, retain=facts().forget)
    with Run.temporary() as run:
        with pytest.raises(MethodError, match="none can be masked"):
            planted(tiny_lm(), same, run, "logit-bias")
        with pytest.raises(MethodError, match="only given"):
            planted(before, same, run, "retrained")
    assert (*HIDING, "retrained") == KINDS


def test_a_retrained_model_is_the_one_given(before):
    with Run.temporary() as run:
        assert planted(before, ForgetData(), run, "retrained", retrained=before) is before
