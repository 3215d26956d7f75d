"""Reading layers, finding facts in answers, exchanging states, linear questions."""

import numpy as np
import pytest
import torch

from unsay.config.plan import Adapter
from unsay.data.example import Example
from unsay.errors import ModelError
from unsay.mechanism.inside import opened
from unsay.mechanism.linear import folds_of, held_out, linear_cka
from unsay.mechanism.patching import fact_logp, fact_states, patched, patched_logp
from unsay.mechanism.texts import texts
from unsay.models._tiny import tiny_lm
from unsay.models.patches import with_offset
from unsay.testing import facts


def whole(lm, text):
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt-neox", "gpt2"])
def test_the_last_layer_says_what_the_model_says(family):
    lm = tiny_lm(family)
    asked = texts(lm, facts().forget)
    with opened(lm) as inside:
        for group, states in inside.batches([text.ids for text in asked]):
            assert states.shape[1] == inside.depth + 1
            for row, number in enumerate(group):
                text = asked[number]
                said = inside.logits(states[row, -1, : len(text.ids)]).log_softmax(-1)
                assert torch.allclose(said, whole(lm, text), atol=1e-4)


def test_what_cannot_be_opened_says_so():
    with pytest.raises(ModelError, match="cannot be opened"), opened(with_offset(tiny_lm(), 1.0, Adapter(rank=2))):
        pass


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ("She lives in Oslo.", "Oslo"),
        ("It was in 1984, they say.", "1984"),
        ("Ada lives in Oslo and Rome.", "OsloRome"),  # Ada is in the question
        ("She has her home on a farm near Oslo.", "Oslo"),  # names before nouns
        ("She earns her living as a beekeeper.", "beekeeper"),
        ("Ada goes fencing.", "fencing"),  # no entity: what the question does not say
        ("by the", "bythe"),
    ],
)
def test_the_fact_of_an_answer(answer, fact):
    lm = tiny_lm()
    (text,) = texts(lm, [Example("Where does Ada live?", answer)])
    said = "".join(lm.tokenizer.decode([text.ids[place]]) for place in text.fact)
    assert said.replace(" ", "") == fact and text.whole == (fact == "bythe")
    assert min(text.fact) >= text.start and text.ids[: text.start] == text.prompt


def test_a_row_may_name_its_fact():
    lm = tiny_lm()
    (text,) = texts(lm, [Example("Where?", "In Oslo, by the sea.", meta={"spans": ["the sea"]})])
    assert "".join(lm.tokenizer.decode([text.ids[place]]) for place in text.fact) == "the sea"


def test_patching_a_model_into_itself_changes_nothing():
    lm = tiny_lm()
    asked = texts(lm, facts().forget)
    with opened(lm) as inside:
        states, full = fact_states(inside, asked, [1, 2, 3]), fact_logp(inside, asked)
        for text in asked:
            said = whole(lm, text)
            right = [float(said[place - 1, text.ids[place]]) for place in text.fact]
            assert full[text.id] == pytest.approx(sum(right) / len(right), abs=1e-4)
        for _, found in patched_logp(inside, asked, states, [1, 2, 3]):
            assert found == pytest.approx(full, abs=1e-5)


def test_patching_all_layers_gives_the_other_model():
    """The two differ in their decoder layers alone, so that all layers' states are the whole difference."""
    one, other = tiny_lm(seed=0), tiny_lm(seed=0)
    with torch.no_grad():
        for parameter in other.model.model.layers.parameters():
            parameter.mul_(1.5)
    text = texts(one, facts().forget)[0]
    ids = torch.tensor([text.ids])
    places = torch.arange(len(text.ids))
    with opened(other) as source:
        ((_, states),) = source.batches([text.ids])
    with opened(one) as inside:
        new = {layer: (torch.zeros_like(places), places, states[0, n]) for n, layer in enumerate(inside.layers, 1)}
        with patched(new), torch.no_grad():
            said = one.model(input_ids=ids).logits[0].log_softmax(-1)
    assert torch.allclose(said, whole(other, text), atol=1e-5)
    assert not torch.allclose(said, whole(one, text), atol=1e-2)
    assert torch.allclose(whole(one, text), whole(tiny_lm(seed=0), text))  # nothing is left behind


def people(n_entities, per, seed=0):
    rng = np.random.default_rng(seed)
    groups = [f"e{i}" for i in range(n_entities) for _ in range(per)]
    return rng, groups


def test_a_class_that_is_there_is_read_and_random_labels_are_not():
    rng, groups = people(40, 5)
    features = rng.normal(size=(200, 30))
    there = (features[:, 0] > 0).astype(int)
    noise = rng.integers(0, 3, size=200)
    scores = {}
    for name, labels in (("there", there), ("noise", noise)):
        right = held_out(features, folds_of(labels, groups, folds=5, shuffles=20, seed=1))
        scores[name] = right[0].mean() - right[1:].mean()
    assert scores["there"] > 0.35
    assert abs(scores["noise"]) < 0.1


def test_what_only_the_entity_tells_is_not_read():
    """States that name the entity say nothing of an entity that was held out, however many rows it has."""
    rng, groups = people(20, 10)
    own = {g: rng.normal(size=40) for g in sorted(set(groups))}
    label = {g: i % 2 for i, g in enumerate(sorted(set(groups)))}
    features = np.stack([own[g] + 0.01 * rng.normal(size=40) for g in groups])
    folds = folds_of([label[g] for g in groups], groups, folds=5, shuffles=20, seed=0)
    for test in folds.tests:
        assert not {groups[i] for i in test} & {groups[i] for i in set(range(200)) - set(test)}
    assert held_out(features, folds)[0].mean() < 0.75


def test_cka_knows_rotations_and_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8))
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    assert linear_cka(x, 3 * x @ turn + 1) == pytest.approx(1.0)
    assert linear_cka(x, rng.normal(size=(300, 8))) < 0.1
    y = np.hstack([x[:, :4], rng.normal(size=(300, 4))])
    xc, yc = x - x.mean(0), y - y.mean(0)
    own = np.linalg.norm(yc.T @ xc) ** 2 / (np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc))
    assert linear_cka(x, y) == pytest.approx(own)
    assert np.isnan(linear_cka(x, np.ones((300, 2))))
