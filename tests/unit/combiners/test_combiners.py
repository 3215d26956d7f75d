"""Two gradients become one."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unsay import registry
from unsay.combiners._combiner import inner
from unsay.combiners.blur import Blur
from unsay.combiners.dual import Dual
from unsay.combiners.harmonise import Harmonise
from unsay.combiners.ramp import Ramp
from unsay.combiners.sum import Sum
from unsay.errors import PlanError
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff

numbers = st.lists(st.floats(-10, 10, allow_nan=False, width=32), min_size=6, max_size=6)


def tensors(values):
    flat = torch.tensor(values)
    return [flat[:4].view(2, 2).clone(), flat[4:].clone()]


@given(numbers, numbers, st.floats(0, 5))
def test_blur_moves_along_the_forget_gradient_by_gamma(forget, retain, gamma):
    f, r = tensors(forget), tensors(retain)
    if inner(f, f) < 1e-3:
        return
    square, merged = inner(f, f), tensors(retain)
    Blur(gamma=gamma).merge(f, merged)
    assert inner(merged, f) == pytest.approx(gamma * square, rel=1e-3, abs=1e-3 * (1 + inner(r, r)))
    across = [m - r_ for m, r_ in zip(merged, r, strict=True)]  # only multiples of f were added
    weight = inner(across, f) / square
    assert all(torch.allclose(a, weight * g, atol=1e-3) for a, g in zip(across, f, strict=True))


def test_blur_without_a_forget_gradient_is_the_retain_gradient():
    merged = tensors([1.0] * 6)
    Blur().merge(tensors([0.0] * 6), merged)
    assert torch.cat([m.flatten() for m in merged]).tolist() == [1.0] * 6


@given(numbers, numbers)
def test_harmonise_leaves_no_conflict(forget, retain):
    f, r = tensors(forget), tensors(retain)
    product = inner(f, r)
    merged = [t.clone() for t in r]
    Harmonise().merge(tensors(forget), merged)
    if product >= 0:
        assert all(torch.allclose(m, a + b, atol=1e-4) for m, a, b in zip(merged, f, r, strict=True))
    else:
        assert inner(merged, f) >= -1e-2 and inner(merged, r) >= -1e-2


def test_harmonise_by_hand():
    """f = (1, 0), r = (−1, 1): <f,r> = −1, ‖r‖² = 2, ‖f‖² = 1. f + r/2 = (1/2, 1/2), r + f = (0, 1); sum (1/2, 3/2)."""
    merged = [torch.tensor([-1.0, 1.0])]
    Harmonise().merge([torch.tensor([1.0, 0.0])], merged)
    assert merged[0].tolist() == pytest.approx([0.5, 1.5])


def test_ramp_reaches_both_ends():
    rule = Ramp(first=0.2, last=0.8)
    assert [rule.factors(t, 4, {})[0] for t in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rule.factors(0, 1, {}) == (0.2, 1.0)


def test_the_rules_that_combine_need_something_to_combine_with():
    for rule in (Blur(), Harmonise(), Dual()):
        with pytest.raises(PlanError, match="no retain term"):
            GradAscent(combine=rule)
        GradDiff(combine=rule)
    GradAscent(combine=Sum())


def test_every_file_is_in_the_registry():
    assert registry.names("combiners") == ["blur", "dual", "harmonise", "ramp", "sum"]
    assert registry.names("stops") == ["early-out", "perplexity", "steps", "utility"]
    assert registry.names("tokens") == ["all", "delta", "entities", "lowest-loss", "score", "skip-first"]


def test_dual_asks_once_and_never_goes_below_zero():
    asked = []
    state = Dual(slack=2.0).start(SimpleNamespace(nll=lambda role: asked.append(role) or 0.5))
    assert asked == ["retain"] and state["bound"] == 1.0
    assert Dual().update({"retain": -100.0}, 9.0, state)["weight"] == 0.0
