"""Greedy answers against `model.generate`, prompt by prompt."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unsay.errors import DataError
from unsay.measure.generations import Greedy, first, generate
from unsay.models._tiny import FAMILIES, tiny_lm
from unsay.models.layers import head_is_plain

PROMPTS = ["Who is Ada Quill?", "Where?", "", "What does Ada Quill keep in the garden behind the old mill?", "Why?"]


def reference(lm, prompt, limit):
    ids = torch.tensor([lm.template.encode_prompt(prompt)])
    out = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=limit,
        eos_token_id=sorted(lm.template.end_ids),
        pad_token_id=lm.template.pad_id,
    )[0, ids.shape[1] :].tolist()
    return tuple(out[:-1] if out[-1] in lm.template.end_ids else out)


def ids_of(lm, limits, **settings):
    found = {}
    for step in Greedy(lm, limits, **settings).run("fp32"):
        assert not found.keys() & step.ids.keys()
        found |= step.ids
    return found


def stopping(lm):
    """`lm` with an end-of-turn token that its answers do reach, at different lengths."""
    usual = [token for p in PROMPTS for token in reference(lm, p, 12)[2:]]
    end = max(set(usual), key=usual.count)
    return dataclasses.replace(lm, template=dataclasses.replace(lm.template, end_ids=frozenset({end})))


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_generate(family):
    lm = tiny_lm(family)
    expected = {p: reference(lm, p, 12) for p in PROMPTS}
    assert ids_of(lm, dict.fromkeys(PROMPTS, 12)) == expected
    lm = stopping(lm)
    expected = {p: reference(lm, p, 12) for p in PROMPTS}
    assert min(map(len, expected.values())) < 12
    assert ids_of(lm, dict.fromkeys(PROMPTS, 12)) == expected


@pytest.mark.parametrize("rows", [1, 2, 5, 64])
def test_batches_change_nothing(rows):
    lm = stopping(tiny_lm(seed=3))
    limits = {p: 4 + 3 * i for i, p in enumerate(PROMPTS)}
    expected = {p: reference(lm, p, n) for p, n in limits.items()}
    assert len({len(ids) for ids in expected.values()}) > 2
    assert ids_of(lm, limits, rows=rows) == expected


def test_finished_rows_leave_the_batch():
    lm = stopping(tiny_lm(seed=3))
    assert head_is_plain(lm.model)  # looked into once per network, by a forward of its own
    shapes = []
    lm.model.get_input_embeddings().register_forward_hook(lambda m, args, out: shapes.append(tuple(args[0].shape)))
    limits = {p: 4 + 3 * i for i, p in enumerate(PROMPTS)}
    found, spent = {}, 0
    for step in Greedy(lm, limits).run("fp32"):
        found |= step.ids
        spent += step.tokens
    needed = [len(ids) + (len(ids) < limits[p]) for p, ids in found.items()]  # an end token costs a step as well
    assert [rows for rows, _ in shapes] == [sum(n > k for n in needed) for k in range(max(needed))]
    assert spent == sum(rows * width for rows, width in shapes)


def test_a_shorter_answer_is_the_beginning_of_a_longer_one():
    lm = tiny_lm()
    long = ids_of(lm, dict.fromkeys(PROMPTS, 12))
    short = generate(lm, dict.fromkeys(PROMPTS, 5), precision="fp32")
    assert {p: first(lm, ids, 5) for p, ids in long.items()} == short
    assert short["Where?"] == lm.tokenizer.decode(reference(lm, "Where?", 5)).strip()


def test_bf16_leaves_the_model_alone():
    lm = tiny_lm()
    before = lm.fingerprint()
    assert set(generate(lm, {"Where?": 3}, precision="bf16")) == {"Where?"}
    assert lm.fingerprint() == before


def test_no_gradient_mode_leaks_while_it_runs():
    steps = Greedy(tiny_lm(), {"Where?": 3}).run("fp32")
    next(steps)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_too_long_a_prompt_is_an_error():
    with pytest.raises(DataError, match="1 of 2 prompts are longer than 40 tokens"):
        Greedy(tiny_lm(), {"x" * 50: 3, "": 3}, max_length=40)
