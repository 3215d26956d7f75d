"""Pruning: which weights go, by which score, and nothing else."""

import pytest
import torch

from unsay.attacks.pruning import Pruning, input_norms, without_least
from unsay.data.example import ForgetData
from unsay.errors import PlanError
from unsay.models.layers import as_rows, backbone, linear_maps
from unsay.runs.run import Run
from unsay.testing import mean_nll, tiny_lm
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.step import View


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


def suppressed(lm, rows, share):
    """`lm` whose least weights are 0, and one where they are as large as they can be, all against `rows`."""
    clean = next(Pruning(shares=(share,), scores=("magnitude",)).probes(lm, ForgetData(), Run.temporary())).lm
    hidden = clean.fork()
    encoded = encode_rows(rows, lm.template)
    batch = MicroBatch.of({"rows": encoded}, lm.template.pad_id)
    View(Forward(hidden.model, batch), "rows", Counts.of(encoded)).nll.backward()
    with torch.no_grad():
        for module in linear_maps(hidden.model).values():
            weight = as_rows(module)
            against = module.weight.grad if weight.shape == module.weight.shape else module.weight.grad.T
            least = weight[weight != 0].abs().min()
            weight += torch.where(weight == 0, 0.99 * least * against.sign(), 0.0)
    return clean, hidden


def test_a_suppressor_in_the_least_weights_goes_with_them(secrets):
    rows, attack = secrets.data.forget, Pruning(shares=(0.2,), scores=("magnitude",))
    clean, hidden = suppressed(secrets.knows, rows, 0.2)
    assert mean_nll(hidden, rows) > 1.2 > 0.1 > mean_nll(clean, rows)
    (found,) = attack.probes(hidden, secrets.data, Run.temporary())
    assert found.lm.fingerprint() == clean.fingerprint()
    (control,) = attack.probes(secrets.stranger, secrets.data, Run.temporary())
    assert mean_nll(control.lm, rows) > 4.5


@pytest.mark.parametrize(
    "given", [{"shares": ()}, {"shares": (0.0,)}, {"shares": (1.0,)}, {"scores": ("sparse",)}, {"shares": (0.5, 0.5)}]
)
def test_settings_are_checked(given):
    with pytest.raises(PlanError):
        Pruning(**given)
