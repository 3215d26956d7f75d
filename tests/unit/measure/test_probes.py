"""Gradient norms and layers: against the network itself, and through the evaluator and the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from unsay.config.plan import Adapter
from unsay.data.example import Example
from unsay.errors import DataError
from unsay.measure.evaluator import Evaluator
from unsay.measure.grad_norms import GradNormSweep
from unsay.measure.lens import LensSweep
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.metrics.have import Measurements
from unsay.metrics.needs import GradNorms, Lens
from unsay.metrics.score import Score
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.adapters import attach
from unsay.models.patches import with_offset
from unsay.runs.run import Run
from unsay.runs.store import Store

ASKS = [Ask("Who is Ada?", "A baker."), Ask("Who?", "Bo, the vet of Oslo."), Ask("", "Plain text.")]


def run(sweep):
    found = {}
    for part, _ in sweep.run("fp32"):
        assert not part.keys() & found.keys()
        found |= part
    return found


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_norms_are_those_of_the_whole_gradient(family):
    """Llama's head is tied to its embedding: one gradient, counted once."""
    lm = tiny_lm(family)
    found = run(GradNormSweep(lm, ASKS))
    for ask in ASKS:
        row = lm.template.encode(*ask)
        labels = torch.tensor([row.input_ids])
        labels[:, : row.answer_start] = -100
        loss = lm.model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss
        weights = [p for p in lm.model.parameters() if p.requires_grad]
        parts = torch.autograd.grad(loss, weights, allow_unused=True)
        whole = torch.cat([g.reshape(-1) for g in parts if g is not None]).norm()
        assert found[ask] == pytest.approx(float(whole), rel=1e-4)


def test_the_model_is_left_as_it_was():
    lm = tiny_lm()
    first, *others = lm.model.parameters()
    first.requires_grad_(False)
    others[0].grad = torch.ones_like(others[0])
    before = lm.fingerprint()
    run(GradNormSweep(lm, ASKS))
    assert lm.fingerprint() == before
    assert not first.requires_grad and all(p.requires_grad for p in others)
    assert bool((others[0].grad == 1).all()) and first.grad is None and others[1].grad is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_says_what_the_model_says(family):
    lm = tiny_lm(family)
    found = run(LensSweep(lm, ASKS))
    own = token_stats(lm, ASKS, precision="fp32")
    for ask in ASKS:
        assert len(found[ask].logp) == len(found[ask].rank) == lm.model.config.num_hidden_layers
        assert found[ask].logp[-1] == pytest.approx(own[ask].logp[0], abs=1e-4)
        assert found[ask].rank[-1] == own[ask].rank[0]


def test_an_earlier_layer_is_the_model_without_the_later_ones():
    """Skipping the last of llama's three layers leaves a model whose own answer is the second layer's reading."""
    lm = tiny_lm()
    found = run(LensSweep(lm, ASKS, micro_tokens=1))
    lm.model.model.layers[-1].forward = lambda hidden_states, **_: hidden_states
    shorter = token_stats(lm, ASKS, precision="fp32")
    for ask in ASKS:
        assert found[ask].logp[1] == pytest.approx(shorter[ask].logp[0], abs=1e-4)
        assert found[ask].logp[1] != pytest.approx(found[ask].logp[2], abs=1e-4)


def test_no_final_norm_is_no_reading():
    """What stands between the last layer and the head is hidden: nothing rather than nonsense."""
    lm = tiny_lm()
    norm = lm.model.model.norm
    forward = norm.forward

    class Hidden(torch.nn.Module):
        def forward(self, x):
            return forward(x)

    lm.model.model.norm = torch.nn.ModuleList([Hidden()])
    lm.model.model.norm.forward = lambda x: forward(x)
    found = run(LensSweep(lm, ASKS))
    assert all(len(entry.logp) == 0 for entry in found.values())


@dataclass(frozen=True, kw_only=True)
class _Both:
    """Mean norm plus mean log-probability of the last layer."""

    split: str = "forget"
    label: str = "both"

    @property
    def needs(self):
        return (GradNorms(self.split), Lens(self.split))

    def score(self, have: Measurements) -> Score:
        norms, layers = have.norms(self.needs[0]), have.layers(self.needs[1])
        values = {i: n + float(layers[i][0].logp[-1]) for i, (n,) in norms.items()}
        return Score(float(np.mean(list(values.values()))), values, len(values))


def test_stored_and_found_again(tmp_path):
    rows = [Example(ask.prompt, ask.answer) for ask in ASKS]
    store, lm = Store(tmp_path), tiny_lm()
    first = Evaluator({"forget": rows}, [_Both()], store=store, precision="fp32")
    first.measure("after", lm)
    assert first.effort("after").tokens > 0

    def refuse():
        raise AssertionError("nothing is missing: the model must not be loaded")

    again = Evaluator({"forget": rows}, [_Both()], store=store, precision="fp32")
    again.measure("after", fingerprint=lm.fingerprint(), load=refuse)
    assert again.scores() == first.scores()
    expected = run(GradNormSweep(lm, ASKS))[ASKS[0]] + run(LensSweep(lm, ASKS))[ASKS[0]].logp[-1]
    assert first.scores()["after"]["both@forget"].per_example[rows[0].id] == pytest.approx(expected, abs=1e-4)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    rows = [Example(ask.prompt, ask.answer) for ask in ASKS]
    lm, store = tiny_lm(), Store(tmp_path)
    whole = Evaluator({"forget": rows}, [_Both()], store=Store(tmp_path / "other"), precision="fp32")
    whole.measure("after", lm)
    steps = GradNormSweep.run

    def dies(self, precision="fp32"):
        yield next(steps(self, precision))
        raise KeyboardInterrupt

    judge = Evaluator({"forget": rows}, [_Both()], store=store, precision="fp32")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GradNormSweep, "run", dies)
        judge.measure("after", lm)
    assert all(p.requires_grad and p.grad is None for p in lm.model.parameters())
    judge.measure("after", lm)
    assert 0 < judge.effort("after").tokens < whole.effort("after").tokens
    assert judge.scores()["after"]["both@forget"].per_example == pytest.approx(
        whole.scores()["after"]["both@forget"].per_example, rel=1e-6
    )


def test_a_long_answer_counts_up_to_the_limit_and_that_is_noted(tmp_path):
    lm, ask = tiny_lm(), ASKS[1]
    row = lm.template.encode(*ask)
    limit = len(row) - 3
    run_ = Run.temporary()
    for _ in range(2):  # measured, then found in the store
        judge = Evaluator(
            {"forget": [Example(*ask)]}, [_Both()], store=Store(tmp_path), run=run_, max_length=limit, precision="fp32"
        )
        judge.measure("after", lm)
    assert run_.manifest.notes == [f"1 texts of forget (answer) exceed {limit} tokens and were scored up to there"]
    (norm,) = run(GradNormSweep(lm, [ask], max_length=limit)).values()
    ids = torch.tensor([row.input_ids[:limit]])
    labels = torch.where(torch.arange(limit) < row.answer_start, -100, ids)
    parts = torch.autograd.grad(lm.model(input_ids=ids, labels=labels).loss, list(lm.model.parameters()))
    assert norm == pytest.approx(float(torch.cat([g.reshape(-1) for g in parts]).norm()), rel=1e-4)
    with pytest.raises(DataError, match="leave no room"):
        GradNormSweep(lm, [ask], max_length=row.answer_start)


def test_an_adapter_is_merged_and_an_offset_is_its_small_network():
    lm = tiny_lm()
    adapted = attach(lm, Adapter(rank=4))
    assert run(GradNormSweep(adapted, ASKS)) == pytest.approx(run(GradNormSweep(lm, ASKS)), rel=1e-5)
    offset = with_offset(lm, 1.5, Adapter(), tiny_lm("gpt2", seed=7, n_layer=1))
    found = run(GradNormSweep(offset, ASKS[:1]))[ASKS[0]]
    row = lm.template.encode(*ASKS[0])
    logits = offset.model(input_ids=torch.tensor([row.input_ids])).logits[0, row.answer_start - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer_ids))
    parts = torch.autograd.grad(loss, [p for p in offset.model.parameters() if p.requires_grad], allow_unused=True)
    assert found > 0
    assert run(LensSweep(offset, ASKS[:1]))[ASKS[0]].logp.size == 0
    assert found >= float(torch.cat([g.reshape(-1) for g in parts if g is not None]).norm()) - 1e-4
