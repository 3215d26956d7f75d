"""A chat model on this machine: sampled, seeded, and its replies cleaned."""

import pytest
import torch

from unsay.errors import DataError, ModelError, PlanError
from unsay.models._tiny import tiny_lm
from unsay.runs.run import Run
from unsay.writers import obtain
from unsay.writers._prompts import ROLES, ask, tidy
from unsay.writers.local_chat import LocalChat


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "model"
    tiny_lm().save(path)
    return str(path)


@pytest.fixture
def untidied(monkeypatch):
    """Replies as they are: a random model ends few sentences."""
    monkeypatch.setattr("unsay.writers.local_chat.tidy", lambda text, cut: text)


def test_replies_repeat_for_a_seed_and_differ_otherwise(folder, rows, run, untidied):
    chat = LocalChat(path=folder, max_new_tokens=60, batch=3, spare=1)
    state = torch.random.get_rng_state()
    first = chat.write(rows[:5], "alternative", 2, run)
    assert torch.equal(torch.random.get_rng_state(), state), "the global random state is left alone"
    assert {name: len(own) for name, own in first.items()} == {row.id: 3 for row in rows[:5]}
    texts = [text for own in first.values() for text in own if text]
    assert len(texts) > 3 and len(set(texts)) == len(texts)
    assert not any("<|" in text for text in texts), "no control tokens"
    assert chat.write(rows[:5], "alternative", 2, run) == first
    with Run.temporary(seed=1) as other:
        assert chat.write(rows[:5], "alternative", 2, other) != first


def test_the_padding_of_a_batch_changes_no_reply(folder, rows, run, untidied):
    """Greedy in disguise: at a temperature near 0, a row has the same replies alone and beside longer rows."""
    cold = LocalChat(path=folder, temperature=1e-4, max_new_tokens=20, spare=0, batch=8)
    together = cold.write(rows[:8], "alternative", 1, run)
    alone = {row.id: cold.write([row], "alternative", 1, run)[row.id] for row in rows[:8]}
    assert together == alone and any(any(own) for own in together.values())


def test_what_a_random_model_writes_is_checked_and_completed(folder, rows, run):
    texts = obtain(LocalChat(path=folder, max_new_tokens=30), rows, "alternative", 3, run)
    assert all(len(set(own)) == 3 for own in texts)


@pytest.mark.parametrize(
    ("settings", "message"), [({"temperature": 0.0}, "temperature"), ({"batch": 0}, "batch"), ({"spare": -1}, "spare")]
)
def test_settings(settings, message):
    with pytest.raises(PlanError, match=f"{message}: should be"):
        LocalChat(path="x", **settings)


def test_no_such_model(rows, run, tmp_path):
    with pytest.raises((ModelError, DataError), match="nowhere"):
        LocalChat(path=str(tmp_path / "nowhere")).write(rows, "refusal", 1, run)


@pytest.mark.parametrize("role", ROLES)
def test_questions_and_plain_texts_are_asked_about(rows, role):
    import dataclasses

    [turn] = ask(rows[0], role)
    assert rows[0].question in turn.content and (rows[0].answer in turn.content) == (role in ("alternative", "vague"))
    plain = dataclasses.replace(rows[0], prompt="", answer="a b c d e f g h i j k")
    if role not in ("alternative", "refusal"):
        with pytest.raises(DataError, match="has no question"):
            ask(plain, role)
        return
    [turn] = ask(plain, role)
    assert "a b c d e f g h" in turn.content and ("i j k" in turn.content) == (role == "alternative")


@pytest.mark.parametrize(
    ("reply", "cut", "text"),
    [
        ("  In Rome. ", False, "In Rome."),
        ('"In Rome."', False, "In Rome."),
        ("Answer: In Rome.", False, "In Rome."),
        ('"Red" and "Blue"', False, '"Red" and "Blue"'),
        ("In Rome. She has li", True, "In Rome."),
        ("She has li", True, ""),
        ("", False, ""),
        ('"', False, '"'),
    ],
)
def test_tidy(reply, cut, text):
    assert tidy(reply, cut=cut) == text
