"""Fusing layers is joint least squares over the inputs of each; a single one comes back as it is."""

import pytest
import torch

from unsay.config.plan import Adapter
from unsay.errors import MethodError
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.adapters import attach, merged
from unsay.models.fusion import AdapterFusion, fuse, input_grams, lora_layers, settings_of
from unsay.models.weights import extrapolate

ADAPTER = Adapter(rank=3, alpha=4.0)
IDS = [[5, 6, 7, 8, 9], [20, 21, 22], [40, 41, 42, 43, 44, 45, 46]]


def problem(rows=(30, 25, 40), out=4, width=6):
    torch.manual_seed(0)
    inputs = [torch.randn(n, width, dtype=torch.float64) * (i + 1) for i, n in enumerate(rows)]
    return inputs, [torch.randn(out, width, dtype=torch.float64) for _ in rows]


def test_fusion_is_joint_least_squares():
    inputs, weights = problem()
    fused = fuse(weights, [x.T @ x for x in inputs])
    stacked = torch.cat(inputs)
    outputs = torch.cat([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    assert torch.allclose(fused, torch.linalg.lstsq(stacked, outputs).solution.T, atol=1e-10)


def test_the_ridge_pulls_towards_the_layers_themselves():
    inputs, weights = problem(rows=(2, 3))  # 5 inputs for 6 directions: singular
    grams = [x.T @ x for x in inputs]
    with pytest.raises(MethodError, match="ridge"):
        fuse(weights, grams)
    fused = fuse(weights, grams, ridge=1e-6)
    outputs = torch.cat([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    assert torch.allclose(torch.cat(inputs) @ fused.T, outputs, atol=1e-3)
    huge = fuse(weights, [torch.eye(6)] * 2, ridge=1e6)
    assert torch.allclose(huge, sum(weights) / 2, atol=1e-5)


def test_a_single_layer_is_returned():
    inputs, weights = problem(rows=(2,))
    assert torch.allclose(fuse(weights, [inputs[0].T @ inputs[0]], ridge=1e-3), weights[0], atol=1e-8)
    with pytest.raises(MethodError, match="nothing"):
        fuse([], [])


def trained(base, seed):
    lm = attach(base, ADAPTER, seed=seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return lm


def moved(base, lm):
    old, new = (dict(merged(m).model.named_parameters()) for m in (base, lm))
    return {n: (new[n] - p).detach() for n, p in old.items() if not torch.equal(p, new[n])}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_fused_adapters_equal_fused_weights(family):
    base = tiny_lm(family)
    parts = [trained(base, seed) for seed in (1, 2)]
    fusion = AdapterFusion(ridge=1e-2)
    fusion.add(parts[0], IDS[:2])
    fusion.add(parts[1], IDS[2:])
    fused = fusion.result(base, ADAPTER)
    assert fused.model.peft_config["default"].r == 6
    grams = [input_grams(parts[0], IDS[:2]), input_grams(parts[1], IDS[2:])]
    layers = [lora_layers(m) for m in (*parts, fused)]
    for name in layers[0]:
        deltas = [layer[name].get_delta_weight("default").detach() for layer in layers]
        if family == "gpt2":  # kept [in, out]
            deltas = [delta.T for delta in deltas]
        wanted = fuse(deltas[:2], [gram[name] for gram in grams], ridge=1e-2)
        assert torch.allclose(deltas[2].double(), wanted, atol=1e-4 * float(wanted.abs().max())), name
    assert moved(base, fused).keys() == moved(base, parts[0]).keys()


def test_one_adapter_fused_is_itself():
    base, part = tiny_lm(), trained(tiny_lm(), 3)
    fusion = AdapterFusion(ridge=1e-3)
    fusion.add(part, IDS)
    for (name, one), other in zip(
        moved(base, part).items(), moved(base, fusion.result(base, ADAPTER)).values(), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-4 * float(one.abs().max())), name
    assert extrapolate(base, part, 1.0).fingerprint() != base.fingerprint()


@pytest.mark.parametrize("family", FAMILIES)
def test_grams_are_of_every_token_that_went_in(family):
    lm = trained(tiny_lm(family), 1)
    seen = []
    name, layer = next(iter(lora_layers(lm).items()))
    handle = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0][0].double()))
    grams = input_grams(lm, IDS)
    handle.remove()
    x = torch.cat(seen)
    assert x.shape[0] == sum(map(len, IDS))
    assert torch.allclose(grams[name].double(), x.T @ x, rtol=1e-4, atol=1e-4)
    assert grams.keys() == lora_layers(lm).keys()
    assert not any(module._forward_pre_hooks for module in lora_layers(lm).values())


def test_settings_and_errors():
    lm = attach(tiny_lm(), ADAPTER)
    found = settings_of(lm)
    assert (found.rank, found.alpha, found.dropout) == (3, 4.0, 0.0)
    assert lora_layers(attach(tiny_lm(), found)).keys() == lora_layers(lm).keys()
    for ask in (settings_of, lora_layers):
        with pytest.raises(MethodError, match="no adapter"):
            ask(tiny_lm())
    with pytest.raises(MethodError, match="linear"):
        lora_layers(attach(tiny_lm("qwen3"), Adapter(rank=2, targets=("embed_tokens",))))
    with pytest.raises(MethodError, match="at least one row"):
        input_grams(lm, [])
    lm.model.peft_config["default"].use_rslora = True
    with pytest.raises(MethodError, match="merge it"):
        settings_of(lm)
