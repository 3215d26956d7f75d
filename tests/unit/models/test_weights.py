"""Lines between two models."""

import pytest
import torch

from unsay.errors import ModelError
from unsay.models._tiny import tiny_lm
from unsay.models.line import Line
from unsay.models.patches import with_guard
from unsay.models.weights import extrapolate, random_control


def weights(lm):
    return dict(lm.model.named_parameters())


@pytest.mark.parametrize("scale", [-1.0, 0.3, 1.5, 6.0])
def test_extrapolation_is_linear_in_every_tensor(scale):
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    names = before.fingerprint(), after.fingerprint()
    result = extrapolate(before, after, scale)
    for name, ours in weights(result).items():
        old, new = weights(before)[name].double(), weights(after)[name].double()
        torch.testing.assert_close(ours.double(), old + scale * (new - old), atol=2e-6, rtol=1e-5, msg=name)
    assert (before.fingerprint(), after.fingerprint()) == names


def test_both_ends_are_exact():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    assert extrapolate(before, after, 0.0).fingerprint() == before.fingerprint()
    assert extrapolate(before, after, 1.0).fingerprint() == after.fingerprint()


def test_tied_weights_move_once_and_stay_tied():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    result = extrapolate(before, after, 3.0).model
    assert result.get_input_embeddings().weight is result.get_output_embeddings().weight
    old, new = (lm.model.get_input_embeddings().weight for lm in (before, after))
    torch.testing.assert_close(result.get_input_embeddings().weight, old + 3 * (new - old), atol=2e-6, rtol=1e-5)


def test_buffers_are_left_alone():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    for lm, value in ((before, 1.0), (after, 2.0)):
        lm.model.model.rotary_emb.inv_freq.fill_(value)
    for result in (extrapolate(before, after, 5.0), random_control(before, after, 0)):
        assert bool((result.model.model.rotary_emb.inv_freq == 2.0).all())


def test_bf16_is_worked_out_in_fp32():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    for lm in (before, after):
        lm.model.bfloat16()
    result = extrapolate(before, after, 1.7)
    for name, ours in weights(result).items():
        old, new = weights(before)[name].float(), weights(after)[name].float()
        assert torch.equal(ours, torch.lerp(old, new, 1.7).bfloat16()), name


def test_random_control_is_as_long_and_points_elsewhere():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    frozen = "model.layers.0.mlp.up_proj.weight"
    weights(after)[frozen].data.copy_(weights(before)[frozen])
    control = random_control(before, after, 7)
    for name, ours in weights(control).items():
        old, new = weights(before)[name], weights(after)[name]
        step, true = (ours - old).flatten().double(), (new - old).flatten().double()
        torch.testing.assert_close(step.norm(), true.norm(), rtol=1e-4, atol=1e-7, msg=name)
        if ours.numel() > 500 and name != frozen:
            assert abs(torch.nn.functional.cosine_similarity(step, true, dim=0)) < 0.2, name
    assert torch.equal(weights(control)[frozen], weights(before)[frozen])
    assert random_control(before, after, 7).fingerprint() == control.fingerprint()
    assert random_control(before, after, 8).fingerprint() != control.fingerprint()


@pytest.mark.parametrize(
    "other", [lambda: tiny_lm("mistral"), lambda: tiny_lm(num_hidden_layers=2), lambda: tiny_lm(intermediate_size=48)]
)
def test_only_two_states_of_one_model(other):
    with pytest.raises(ModelError, match="not two states of one model"):
        extrapolate(tiny_lm(), other(), 1.5)


def test_a_patch_leaves_no_line_unless_both_have_it():
    before, after = tiny_lm(seed=0), tiny_lm(seed=1)
    guarded = [with_guard(lm, "Say nothing.") for lm in (before, after)]
    for make in (
        Line,
        lambda one, other: extrapolate(one, other, 0.5),
        lambda one, other: random_control(one, other, 0),
    ):
        for one, other in ((before, guarded[1]), (guarded[0], after)):
            with pytest.raises(ModelError, match=r"by a patch \(guard\)"):
                make(one, other)
    assert weights(Line(*guarded).at(0.5)).keys() == weights(before).keys()
