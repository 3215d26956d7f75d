"""Rounding to few bits: levels, scales, groups, what is left alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from unsay.config.plan import Adapter
from unsay.errors import PlanError
from unsay.models.adapters import attach
from unsay.models.layers import as_rows, linear_maps
from unsay.models.quantise import codes, in_format, number_format, plain_copy, quantised
from unsay.testing import tiny_lm


def test_by_hand():
    weight = torch.tensor([[7.0, -3.4, 3.6, 0.4], [0.0, 0.0, 0.0, 0.0], [-14.0, 1.1, 0.9, 7.0]])
    found, step = codes(weight, 4)
    assert found.tolist() == [[7, -3, 4, 0], [0, 0, 0, 0], [-7, 1, 0, 4]]  # 3.5 rounds to even
    assert step.tolist() == [[1.0] * 4, [0.0] * 4, [2.0] * 4]
    assert quantised(weight, number_format("int4")).tolist() == [[7, -3, 4, 0], [0] * 4, [-14, 2, 0, 8]]


def test_groups_have_scales_of_their_own_and_the_last_may_be_short():
    weight = torch.tensor([[1.0, 0.5, 100.0, 30.0, 0.01]])
    found, step = codes(weight, 3, group=2)
    assert found.tolist() == [[3, 2, 3, 1, 3]]  # 1.5 rounds to even
    assert torch.allclose(step, torch.tensor([[1.0, 1.0, 100.0, 100.0, 0.01]]) / 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.one_of(st.none(), st.integers(1, 9)), st.integers(0, 999))
def test_errors_are_at_most_half_a_step_and_codes_fit(bits, group, seed):
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed))
    found, step = codes(weight, bits, group)
    assert found.abs().max() <= 2 ** (bits - 1) - 1
    assert ((found * step - weight).abs() <= step * 0.5001).all()


def test_nf4_levels_are_the_quantiles_of_the_normal_distribution():
    offset = 0.9677083  # (1 − 1/32 + 1 − 1/30) / 2
    above, below = norm.ppf(np.linspace(offset, 0.5, 9)[:-1]), -norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([above, [0.0], below]))
    np.testing.assert_allclose(number_format("nf4").levels, levels / levels.max(), atol=1e-6)


def test_codebooks_take_the_nearest_level_of_each_block_of_64():
    weight = torch.zeros(2, 64)
    weight[0, :3] = torch.tensor([2.0, 2.0 * 0.72, 2.0 * -0.6])
    weight[1, :2] = torch.tensor([-0.5, 0.5 * 0.3])
    nf4, fp4 = (quantised(weight, number_format(name)) for name in ("nf4", "fp4"))
    assert torch.allclose(nf4[0, :3], 2 * torch.tensor([1.0, 0.72295684, -0.52507305]))
    assert torch.allclose(fp4[0, :3], 2 * torch.tensor([1.0, 2 / 3, -2 / 3]))
    assert torch.allclose(fp4[1, :2], 0.5 * torch.tensor([-1.0, 1 / 3]))
    assert not nf4[:, 3:].any() and not fp4[:, 3:].any()
    assert len(number_format("fp4").levels) == 15  # zero has two codes


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_only_linear_maps_of_the_layers_change(family):
    lm = tiny_lm(family)
    before = lm.fingerprint()
    coarse = in_format(lm, number_format("int3"))
    changed = {name for name, p in coarse.model.named_parameters() if not torch.equal(p, lm.model.get_parameter(name))}
    maps = {id(m.weight) for m in linear_maps(coarse.model).values()}
    assert changed == {name for name, p in coarse.model.named_parameters() if id(p) in maps}
    assert not [name for name in changed if "embed" in name or "norm" in name or "lm_head" in name]
    assert all(len(row.unique()) <= 7 for m in linear_maps(coarse.model).values() for row in as_rows(m))
    assert lm.fingerprint() == before


def test_an_adapter_is_merged_and_the_copy_shares_nothing():
    lm = tiny_lm()
    with torch.no_grad():
        adapter = attach(lm, Adapter(rank=2))
        for name, parameter in adapter.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    plain = plain_copy(adapter)
    assert [n for n, _ in plain.model.named_parameters()] == [n for n, _ in lm.model.named_parameters()]
    assert plain.fingerprint() != lm.fingerprint()
    shared = {p.data_ptr() for p in lm.model.parameters()} & {p.data_ptr() for p in plain_copy(lm).model.parameters()}
    assert not shared


@pytest.mark.parametrize("name", ["int9", "int1", "int4-g0", "fp8", ""])
def test_unknown_formats(name):
    with pytest.raises(PlanError, match="no number format"):
        number_format(name)
