"""bf16 is a working copy: what the optimiser moves stays float32."""

import dataclasses
import json

import pytest
import torch

from unsay.config.plan import Train
from unsay.methods.fine_tune import FineTune
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, mean_nll, tiny_lm

BASE = Train(lr=1e-3, batch=6, micro_tokens=4096, epochs=3, precision="fp32", checkpoint_every=0)


def go(method, lm, *, run=None, **train):
    return method.unlearn(lm, facts(), run or Run.temporary(dataclasses.replace(BASE, **train)))


def losses(run):
    return [json.loads(line) for line in (run.dir / "events.jsonl").read_text().splitlines()]


def test_bf16_returns_fp32_masters_near_those_of_fp32():
    lm = tiny_lm()
    full, working = (go(FineTune(on="all"), lm, precision=p, lr=3e-3, epochs=6) for p in ("fp32", "bf16"))
    assert {p.dtype for p in working.model.parameters()} == {torch.float32}
    start, a, b = (mean_nll(m, facts().forget) for m in (lm, full, working))
    assert abs(a - b) < 0.1 * (start - a)
    odd = [n for n, p in working.model.named_parameters() if torch.equal(p, p.bfloat16().float())]
    assert not [n for n in odd if "norm" not in n], "weights were rounded to bfloat16"


def test_bf16_adds_up_the_gradients_of_micro_batches():
    """Adam hides a wrong scale, so the norm that is logged is compared."""
    norms = []
    for precision, budget in (("fp32", 10_000), ("bf16", 10_000), ("bf16", 60)):
        run = Run.temporary(dataclasses.replace(BASE, precision=precision, micro_tokens=budget, max_steps=1))
        go(FineTune(on="all"), tiny_lm(), run=run)
        norms.append(losses(run)[0]["grad_norm"])
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=0.02)


def test_bf16_keeps_updates_that_bf16_weights_would_swallow():
    lm = knowing_lm()
    after = go(FineTune(on="forget"), lm, precision="bf16", lr=1e-7, epochs=1)
    old, new = dict(lm.model.named_parameters()), dict(after.model.named_parameters())
    moved = sum(int((new[n] != p).sum()) for n, p in old.items())
    assert moved > 0.5 * sum(p.numel() for p in old.values())
    farthest = max(float((new[n] - p).detach().abs().max()) for n, p in old.items())
    assert farthest < 1e-6, "the start was rounded to bfloat16"
    assert all(torch.equal(new[n].bfloat16(), p.bfloat16()) for n, p in old.items() if "layernorm" in n)
