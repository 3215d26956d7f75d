"""Heads and MLPs: gates by gradient against turning off, routes against what the network adds up."""

import dataclasses

import pytest
import torch

from unsay.errors import ModelError
from unsay.mechanism.attribution import ablated, gradients
from unsay.mechanism.blocks import blocks_of
from unsay.mechanism.inside import opened
from unsay.mechanism.routes import Flow, flow, routes, watched
from unsay.mechanism.texts import texts
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.testing import facts

LAYER = 2  # where conftest's model holds the fact


def scaled(lm, text, layer, head, by):
    """Mean log-probability of the fact with one part of a Llama multiplied by `by`, through its weights."""
    block = lm.model.model.layers[layer]
    out = block.self_attn.o_proj if head < 4 else block.mlp.down_proj
    width = out.in_features // 4
    columns = slice(width * head, width * (head + 1)) if head < 4 else slice(None)
    kept = out.weight.detach().clone()
    try:
        with torch.no_grad():
            out.weight[:, columns] *= by
            logp = lm.model(input_ids=torch.tensor([text.ids])).logits[0].double().log_softmax(-1)
    finally:
        out.weight.data.copy_(kept)
    return float(sum(logp[place - 1, text.ids[place]] for place in text.fact) / len(text.fact))


def test_every_part_against_the_network_without_its_weights():
    lm = tiny_lm()
    text = texts(lm, facts().forget)[0]
    parts = [(layer, head) for layer in range(3) for head in range(5)]
    with opened(lm) as inside:
        logp, slopes = gradients(inside, text)
        lost = ablated(inside, text, parts)
    assert logp == pytest.approx(scaled(lm, text, 0, 0, 1.0), abs=1e-4)
    assert slopes.shape == (3, 5)
    for (layer, head), one in zip(parts, lost, strict=True):
        assert one == pytest.approx(logp - scaled(lm, text, layer, head, 0.0), abs=1e-4)
        step = (scaled(lm, text, layer, head, 1.01) - scaled(lm, text, layer, head, 0.99)) / 0.02
        assert float(slopes[layer, head]) == pytest.approx(step, rel=0.03, abs=3e-3)


def test_the_part_that_holds_the_fact_is_the_largest(knows, data):
    text = texts(knows, data.forget)[0]
    with opened(knows) as inside:
        _, slopes = gradients(inside, text)
        whole, nothing = ablated(inside, text, [(LAYER - 1, 4), (0, 0)])
    assert whole > 0.5 and nothing == pytest.approx(0, abs=1e-6)
    assert int(slopes.argmax()) == (LAYER - 1) * 5 + 4
    assert float(slopes.abs().sum() - slopes.max()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_parts_add_up_in_every_family(family):
    lm = tiny_lm(family)
    ids = texts(lm, facts().forget)[0].ids[:9]
    was = lm.attention
    with opened(lm) as inside:
        blocks = blocks_of(inside)
        with watched(inside, blocks) as seen:
            inside.model.states(input_ids=torch.tensor([ids]), use_cache=False)
            state = seen.entered[0][0]
            for heard, said, added in zip(seen.heads, seen.attention, seen.mlps, strict=True):
                assert torch.allclose(heard.weights.sum(-1), torch.ones(()), atol=1e-5)
                state = state + said.added + added.added
            assert torch.allclose(state, seen.left[0][0], atol=1e-4)
        found = flow(inside, ids)
        _, slopes = gradients(inside, texts(lm, facts().forget)[0])
    assert lm.attention == was and slopes.isfinite().all()
    assert (found.attention >= 0).all() and (found.attention.triu(1) == 0).all()
    whole = found.attention.sum(-1) + found.passed
    assert (whole <= 1 + 1e-5).all() and (whole > 0.5).all()  # the rest is the bias of the output map


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@torch.no_grad()
def test_shares_of_one_state_by_its_own_modules(family):
    """GPT-2's output map has a bias, Gemma's a norm behind it: each head and place through the modules, one by one."""
    lm, ids, i = tiny_lm(family), [5, 6, 7, 8], 2
    with opened(lm) as inside:
        block = blocks_of(inside)[0]
        if block.out.bias is not None:
            block.out.bias.fill_(0.3)
        found = flow(inside, ids)
        with watched(inside, [block]) as seen:
            inside.model.states(input_ids=torch.tensor([ids]), use_cache=False)
    heard, said, before = seen.heads[0], seen.attention[0].added[i], seen.entered[0][0, i]
    bias = block.out(torch.zeros(32))
    factor = said / block.out((heard.weights @ heard.values)[:, i].flatten())
    y = before + said
    parts = {"residual": before, "bias": bias * factor}
    for j in range(i + 1):
        for head in range(4):
            alone = torch.zeros(4, 8)
            alone[head] = heard.weights[head, i, j] * heard.values[head, j]
            parts[(head, j)] = (block.out(alone.flatten()) - bias) * factor
    near = {key: max(float(y.abs().sum() - (y - z).abs().sum()), 1e-5) for key, z in parts.items()}
    if not bias.any():
        del near["bias"]
    total = sum(near.values())
    for j in range(i + 1):
        own = sum(near[(head, j)] for head in range(4)) / total
        assert float(found.attention[0, i, j]) == pytest.approx(own, rel=1e-3)
    assert float(found.passed[0, i]) == pytest.approx(near["residual"] / total, rel=1e-3)


def test_parts_that_do_not_add_up_are_refused(monkeypatch):
    lm = tiny_lm()
    with opened(lm) as inside:
        blocks = blocks_of(inside)
        # The MLP's input norm in the MLP's place: of the right shape, but not what is added.
        strange = [dataclasses.replace(block, mlp=block.layer.post_attention_layernorm) for block in blocks]
        monkeypatch.setattr("unsay.mechanism.routes.blocks_of", lambda _: strange)
        with pytest.raises(ModelError, match="do not add up"):
            flow(inside, [5, 6, 7])
        turned = [dataclasses.replace(block, out=torch.nn.Linear(32, 32, bias=False)) for block in blocks]
        monkeypatch.setattr("unsay.mechanism.routes.blocks_of", lambda _: turned)
        with pytest.raises(ModelError, match="do not add up"):
            flow(inside, [5, 6, 7])


def test_routes_by_hand():
    """Two layers, three places: the last looks at place 0 in layer 2, and place 1 at place 0 in layer 1, unseen."""
    attention = torch.zeros(2, 3, 3)
    attention[1, 2, 0], attention[0, 1, 0], attention[0, 0, 0] = 0.3, 0.9, 0.05
    passed = torch.tensor([[0.95, 0.1, 1.0], [1.0, 1.0, 0.7]])
    mlp = torch.tensor([[0.0, 0.0, 0.4], [0.0, 0.0, 0.02]])
    found = routes(Flow(attention, passed, mlp), 0.06)
    assert found.attention == ((2, 0, 2, pytest.approx(0.3)),)
    assert (found.mlps, found.passed, found.sources) == (1, 1 + 1 + 2 + 2, (0, 2))
    assert found.edges == 8
    assert routes(Flow(attention, passed, mlp), 0.01).mlps == 2
    assert routes(Flow(attention, passed, mlp), 0.5).sources == (2,)


def test_a_model_that_only_passes_on_has_no_attention_routes(knows, data):
    with opened(knows) as inside:
        found = flow(inside, texts(knows, data.forget)[0].prompt)
    tight = routes(found, 0.06)
    assert tight.attention == () and tight.mlps == 1 and len(tight.sources) == 1
