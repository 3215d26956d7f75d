"""A suppression that is one direction is found and taken out; what is measured was not used to find it."""

import json
import math

import pytest
import torch

from unsay.attacks import direction_ablation
from unsay.attacks._split import split_rows
from unsay.attacks.direction_ablation import DirectionAblation, usual_mean
from unsay.data.example import ForgetData
from unsay.errors import MethodError, ModelError, PlanError
from unsay.measure.evaluator import Evaluator
from unsay.metrics.probability import Probability
from unsay.models.ablation import ablated
from unsay.models.layers import backbone, decoder_layers
from unsay.runs.run import Run
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm, mean_nll, tiny_lm


def steered(lm, direction, starts):
    """`lm` that adds a long `direction` to the output of its first layer wherever a text holds one of `starts`."""
    new = lm.fork()
    seen = {}

    def look(module, args, output):
        texts = [lm.tokenizer.decode(row) for row in args[0]]
        seen["rows"] = torch.tensor([any(start in text for start in starts) for text in texts])

    def steer(module, args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        moved = hidden + 200.0 * seen["rows"][:, None, None] * direction
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    new.model.get_input_embeddings().register_forward_hook(look)
    decoder_layers(new.model)[0].register_forward_hook(steer)
    return new


def quiet_direction(lm):
    """The direction in which the first layer's output varies least, so that the model misses little."""
    rows = [lm.template.encode(row.prompt, row.answer).input_ids for row in facts().forget]
    kept = []
    with torch.no_grad():
        hook = decoder_layers(lm.model)[0].register_forward_hook(
            lambda m, a, out: kept.append((out[0] if isinstance(out, tuple) else out).flatten(0, -2))
        )
        for row in rows:
            backbone(lm.model)(input_ids=torch.tensor([row]))
        hook.remove()
    return torch.linalg.eigh(torch.cov(torch.cat(kept).T)).eigenvectors[:, 0]


def test_one_direction_is_undone():
    data, lm = facts(), knowing_lm()
    hidden = steered(lm, quiet_direction(lm), ("Ada's", "Bo's"))
    assert mean_nll(hidden, data.forget) > 3 > 0.2 > mean_nll(lm, data.forget)
    assert mean_nll(hidden, data.retain) == pytest.approx(mean_nll(lm, data.retain), rel=1e-4)
    before = hidden.fingerprint()
    run = Run.temporary()
    start, found = DirectionAblation(layers=9).probes(hidden, data, run)
    told, asked = split_rows(data.forget, 0.5, run.seed)
    assert (start.label, start.at, found.label, found.at) == ("unattacked", 0, "ablated", 1)
    assert start.splits == found.splits == {"forget": asked} and told
    assert mean_nll(found.lm, asked) < 0.6
    assert hidden.fingerprint() == before and found.lm.fingerprint() != before
    assert mean_nll(hidden, data.forget) > 3  # its layers have no new hooks
    report = json.loads((run.dir / "direction.json").read_text())
    assert set(report["log_probability"]) == {"0", "1", "2"}
    assert report["log_probability"][str(report["layer"])] == max(report["log_probability"].values())
    assert report["log_probability"][str(report["layer"])] == pytest.approx(-mean_nll(found.lm, told), rel=0.5)


def test_a_layer_without_numbers_is_passed_over(monkeypatch):
    real = direction_ablation.mean_hidden

    def spoilt(lm, rows, layers, run, label):
        found = real(lm, rows, layers, run, label)
        return found | {1: found[1] * math.nan, 2: torch.zeros_like(found[2])}

    monkeypatch.setattr(direction_ablation, "mean_hidden", spoilt)
    run = Run.temporary()
    _, found = DirectionAblation(layers=9).probes(knowing_lm(), facts(), run)
    report = json.loads((run.dir / "direction.json").read_text())
    assert report["layer"] == 0 and set(report["log_probability"]) == {"0"}
    assert math.isfinite(mean_nll(found.lm, facts().forget))


@pytest.mark.parametrize("where", ["lm_head", "model.norm", "model.layers.0.mlp.down_proj"])
def test_a_model_without_numbers_is_refused(where):
    lm = tiny_lm()
    lm.model.get_submodule(where).weight.data.fill_(math.nan)
    with pytest.raises(ModelError, match="no direction in 3 layers") as error:
        list(DirectionAblation().probes(lm, facts(), Run.temporary()))
    assert error.value.hint


def test_nothing_is_left_of_the_direction():
    lm = tiny_lm("qwen3")
    direction = torch.randn(32, generator=torch.Generator().manual_seed(0))
    found = ablated(lm, direction)
    seen = []
    for module in (*decoder_layers(found.model), found.model.model.norm):
        module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        found.model(input_ids=torch.arange(5, 15)[None])
    along = [float((hidden @ direction).abs().max() / direction.norm()) for hidden in seen]
    assert len(along) == 3 and max(along) < 1e-5
    with pytest.raises(ModelError, match="cannot be saved"):
        found.save(Run.temporary().dir / "model")
    assert ablated(lm, 2 * direction).fingerprint() == found.fingerprint() != lm.fingerprint()
    with pytest.raises(ModelError, match="no length"):
        ablated(lm, torch.zeros(32))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_measured_is_the_ablated_model(tmp_path, precision):
    lm, rows = knowing_lm(), facts().forget
    found = ablated(lm, torch.randn(32, generator=torch.Generator().manual_seed(0)))
    judge = Evaluator({"forget": rows}, [Probability()], store=Store(tmp_path), precision=precision)
    judge.measure("before", lm)
    judge.measure("after", found)
    before, after = (judge.scores()[tag]["probability@forget"].per_example for tag in ("before", "after"))
    expected = {row.id: math.exp(-mean_nll(found, [row])) for row in rows}
    assert after == pytest.approx(expected, abs=1e-5 if precision == "fp32" else 0.05)
    assert max(abs(before[i] - p) for i, p in expected.items()) > 0.2


def test_outliers_are_left_out():
    states = torch.ones(40, 3)
    states[::2] *= 1.1
    spoilt = torch.cat([states, 1e4 * torch.ones(1, 3)])
    assert torch.allclose(usual_mean(spoilt), states.mean(0))
    assert torch.allclose(usual_mean(states), states.mean(0))


def test_layers_tried_are_spread_over_the_depth():
    lm = tiny_lm(num_hidden_layers=6)
    assert DirectionAblation(layers=3).tried(lm) == [1, 3, 5]
    assert DirectionAblation(layers=1).tried(lm) == [3]
    assert DirectionAblation(layers=99).tried(lm) == [0, 1, 2, 3, 4, 5]


def test_what_is_missing_is_said():
    with pytest.raises(MethodError, match="at least two forget rows"):
        list(DirectionAblation().probes(tiny_lm(), ForgetData(forget=facts().forget[:1]), Run.temporary()))
    with pytest.raises(PlanError):
        DirectionAblation(layers=0)
