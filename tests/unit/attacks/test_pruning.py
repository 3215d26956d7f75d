"""Pruning: which weights go, by which score, and nothing else."""

import pytest
import torch

from unsay.attacks.pruning import Pruning, input_norms, without_least
from unsay.data.example import ForgetData
from unsay.errors import PlanError
from unsay.models.layers import as_rows, backbone, linear_maps
from unsay.runs.run import Run
from unsay.testing import tiny_lm


def test_the_least_of_each_row_go():
    weight = torch.tensor([[3.0, -1.0, 2.0, 4.0], [1.0, 1.0, 1.0, -5.0]])
    assert without_least(weight, weight.abs(), 0.5).tolist() == [[3, 0, 0, 4], [0, 0, 1, -5]]
    wanda = without_least(weight, weight.abs() * torch.tensor([0.1, 100.0, 1.0, 1.0]), 0.5)
    assert wanda.tolist() == [[0, -1, 0, 4], [0, 1, 0, -5]]
    assert torch.equal(without_least(weight, weight.abs(), 0.2), weight)  # ⌊0.2 · 4⌋ = 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shares_and_maps(family):
    lm = tiny_lm(family)
    before = lm.fingerprint()
    found = list(Pruning(shares=(0.5, 0.25)).probes(lm, ForgetData(), Run.temporary()))
    assert [(p.label, p.at) for p in found] == [
        ("magnitude-25", 0.25),
        ("wanda-25", 0.25),
        ("magnitude-50", 0.5),
        ("wanda-50", 0.5),
    ]
    assert lm.fingerprint() == before and len({p.lm.fingerprint() for p in found}) == 4
    maps = linear_maps(lm.model)
    for probe in found:
        pruned = linear_maps(probe.lm.model)
        for name, module in maps.items():
            old, new = as_rows(module), as_rows(pruned[name])
            gone = new == 0
            assert torch.equal(new[~gone], old[~gone])
            assert float(gone.float().mean()) == pytest.approx(probe.at)
            if probe.label.startswith("magnitude"):
                assert old[gone].abs().max() <= old[~gone].abs().min()
            else:
                assert (gone.sum(1) == int(probe.at * old.shape[1])).all()
        same = {id(m.weight) for m in pruned.values()}
        others = [name for name, p in probe.lm.model.named_parameters() if id(p) not in same]
        assert all(torch.equal(probe.lm.model.get_parameter(n), lm.model.get_parameter(n)) for n in others)


def test_norms_are_those_of_the_inputs():
    lm = tiny_lm()
    texts = [[5, 6, 7], [8, 9]]
    norms = input_norms(lm, texts, Run.temporary())
    assert norms.keys() == linear_maps(lm.model).keys()
    seen = []
    hook = lm.model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda m, args: seen.append(args[0][0]))
    with torch.no_grad():
        for ids in texts:
            backbone(lm.model)(input_ids=torch.tensor([ids]))
    hook.remove()
    assert torch.allclose(norms["1.mlp.down_proj"], torch.cat(seen).norm(dim=0), rtol=1e-4)


@pytest.mark.parametrize(
    "given", [{"shares": ()}, {"shares": (0.0,)}, {"shares": (1.0,)}, {"scores": ("sparse",)}, {"shares": (0.5, 0.5)}]
)
def test_settings_are_checked(given):
    with pytest.raises(PlanError):
        Pruning(**given)
