"""Cosines of gradients against ones worked out by autograd, and which rows the variants are about."""

import pytest
import torch

from unsay.benchmarks.people import People
from unsay.data.example import Example
from unsay.experiments._related_rows import VARIANTS, about, data, taught
from unsay.experiments._relatedness import relatedness, summary, triples
from unsay.runs.run import Run
from unsay.testing import tiny_lm


def nll_gradient(lm, row):
    model = lm.fork().model
    tokens = lm.template.encode_many([(row.prompt, row.answer)])[0]
    ids = torch.tensor([tokens.input_ids.tolist() if hasattr(tokens.input_ids, "tolist") else tokens.input_ids])
    logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    picked = logps.gather(-1, ids[0, 1:, None])[tokens.answer_start - 1 :]
    (-picked.sum()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).double()


def test_cosine_of_gradients():
    lm = tiny_lm()
    one, other = Example("Ada's cat?", "Tom"), Example("Where is Ada?", "In Oslo, by the sea.")
    found = relatedness(lm, [(one, other, one)], Run.temporary(), "pairs")
    a, b = nll_gradient(lm, one), nll_gradient(lm, other)
    assert found["k2"][one.id] == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-5)
    assert found["k3"][one.id] == pytest.approx(1.0, abs=1e-6)


def test_summary_pairs_what_belongs_together():
    cosines = {
        "before": {"k2": {"a": 0.5, "b": 0.3}, "k3": {"a": 0.1, "b": 0.1}},
        "after": {"k2": {"a": 0.2, "b": 0.2}, "k3": {"a": 0.1, "b": 0.0}},
    }
    found = summary(cosines, {"a": "Ada", "b": "Bo"})
    assert found["means"]["before"]["k2"]["value"] == pytest.approx(0.4)
    differences = {name: d["value"] for name, d in found["differences"].items()}
    assert differences == pytest.approx({"before": 0.3, "after": 0.15, "k2": -0.2, "k3": -0.05})


def test_triples_are_of_one_person_and_attribute():
    members = triples(about(People(size="small")), 100, 0)
    assert len(members) == 20
    for rows in members:
        assert len({(row.entity, row.meta["attribute"]) for row in rows}) == 1
        assert [row.meta["knowledge"] for row in rows] == ["k1", "k2", "k3"]
    some = triples(about(People(size="small")), 3, 7)
    assert len(some) == 3 and some == triples(about(People(size="small")), 3, 7)


@pytest.mark.parametrize("name", VARIANTS)
def test_forgotten_rows_are_taught_and_measured_rows_are_kept_apart(name):
    people, variant = People(size="small"), VARIANTS[name]
    ids = {row.id for row in taught(people, variant)}
    kinds = {row.meta["knowledge"] for row in taught(people, variant)}
    given, splits = data(people, variant), about(people)
    assert kinds == set(variant.taught)
    assert {row.id for row in given.forget} <= ids
    assert {row.meta["knowledge"] for row in given.forget} == set(variant.forgotten)
    assert {row.id for row in splits["retain"]} <= ids  # known to every variant, or utility could not be compared
    assert not {row.entity for row in splits["retain"]} & {row.entity for row in splits["k1"]}
