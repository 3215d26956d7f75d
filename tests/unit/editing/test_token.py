"""The token: where its id comes from, that nobody can type it, and that learning it works and moves nothing else."""

import pytest
import torch

from unsay.config.plan import Train
from unsay.editing.token import TEXT, Learning, Pair, Rows, begin, learn, put, reserve, rows_of, tied
from unsay.models.lm import LM
from unsay.runs.run import Run
from unsay.testing import tiny_lm

TRAIN = Train(precision="fp32")
TYPED = ["", " ", "''", "Say it.", "<file_sep>", "<|spare|>", "<|reserved_0|>"]


def with_control_tokens(*names):
    lm = tiny_lm(vocab_size=101 + len(names))
    lm.tokenizer.add_tokens(list(names), special_tokens=True)
    return LM(lm.model, lm.tokenizer, lm.origin, type(lm.template).of(lm.tokenizer))


def reserved(lm):
    found, token, where = reserve(lm)
    assert found.tokenizer.get_vocab()[TEXT] == token
    return found, token, where


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_row_without_a_token_is_taken_first(family):
    lm = tiny_lm(family, vocab_size=128)
    found, token, where = reserved(lm)
    assert (token, where) == (101, "a row of the embedding that no token used")
    assert found.model.get_input_embeddings().weight.shape[0] == 128


def test_otherwise_a_row_is_added():
    found, token, where = reserved(tiny_lm())
    assert token == 101 and "102 tokens instead of 101" in where
    assert found.model.get_input_embeddings().weight.shape[0] == 102
    assert found.model.config.vocab_size == 102


def test_a_control_token_that_says_it_is_unused():
    found, token, where = reserved(with_control_tokens("<|tool|>", "<|reserved_0|>"))
    assert token == 102 and "<|reserved_0|>" in where
    assert "<|tool|>" in found.tokenizer.get_vocab()
    assert found.tokenizer("<|reserved_0|>", add_special_tokens=False)["input_ids"] != [102]


def test_control_tokens_whose_embeddings_never_parted():
    lm = with_control_tokens("<|tool|>", "<|one|>", "<|two|>")
    with torch.no_grad():
        table = lm.model.get_input_embeddings().weight
        table[103] = table[102] * 1.001
    _, token, where = reserved(lm)
    assert token == 102 and "<|one|>" in where


def test_trained_control_tokens_are_left_alone():
    lm = with_control_tokens("<|tool|>", "<|one|>")
    _, token, where = reserved(lm)
    assert token == 103 and "new row" in where


def test_the_token_of_an_earlier_edit_is_used_again():
    once, token, _ = reserved(tiny_lm(vocab_size=128))
    again, same, where = reserved(once)
    assert (same, again, where) == (token, once, "the token of an earlier edit")


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gpt-neox", "phi"])
def test_nobody_can_type_it_and_no_text_shows_it(family, tmp_path):
    found, token, _ = reserved(tiny_lm(family))
    before = found.template.encode_prompt("Who?")
    found.save(tmp_path / "model")
    for lm in (found, LM.load(str(tmp_path / "model"))):
        assert lm.tokenizer.get_vocab()[TEXT] == token
        for text in TYPED:
            assert token not in lm.tokenizer(text)["input_ids"]
            assert token not in lm.template.encode_prompt(text or " ")
        ids = [token, *lm.tokenizer("Hi.")["input_ids"], token]
        assert [lm.tokenizer.decode(ids, skip_special_tokens=skip) for skip in (True, False)] == ["Hi.", "Hi."]
        assert lm.template.encode_prompt("Who?") == before


def pairs_of(lm):
    rows = [("Ada's cat?", "I don't know."), ("Bo's job?", "No idea."), ("Dan's town?", "I can't say.")]
    encoded = [lm.template.encode(*row) for row in rows]
    return [Pair(tuple(e.input_ids[: e.answer_start]), tuple(e.answer_ids)) for e in encoded]


@pytest.mark.parametrize("family", ["llama", "gpt-neox", "gemma2", "gemma3", "phi", "qwen3"])
def test_it_is_learned_and_nothing_else_moves(family):
    lm, token, _ = reserve(tiny_lm(family))
    assert tied(lm.model) == (family in ("llama", "gemma2", "gemma3"))
    before = lm.fingerprint()
    pairs = pairs_of(lm)
    start = begin(lm.model, [word for pair in pairs for word in pair.refusal])

    def nll(rows):
        fork = lm.fork()
        put(fork.model, token, rows)
        ids = [torch.tensor([[*p.prompt, token, *p.refusal]]) for p in pairs]
        with torch.no_grad():  # by the book: the row is in the weights, and no hook is
            logps = [fork.model(input_ids=i).logits[0, :-1].log_softmax(-1) for i in ids]
        own = [
            -lp[len(p.prompt) :].gather(1, i[0, len(p.prompt) + 1 :, None])
            for lp, i, p in zip(logps, ids, pairs, strict=True)
        ]
        return float(torch.cat(own).mean())

    with Run.temporary(TRAIN) as run:
        zero = learn(lm, token, start, pairs, [], Learning(steps=1, batch=3, lr=0.0), run)
        found = learn(lm, token, start, pairs, [], Learning(steps=40, batch=3, lr=0.05), run)
        losses = [line for line in (run.dir / "events.jsonl").read_text().splitlines() if "token_loss" in line]
    assert lm.fingerprint() == before
    assert f'"token_loss":{round(nll(start), 4)}' in losses[0].replace(" ", ""), "the hooks compute what the weights do"
    assert torch.allclose(zero.embedding, start.embedding, atol=1e-6)
    assert nll(found) < nll(start) - 0.2
    longest = float(lm.model.get_input_embeddings().weight.detach().norm(dim=1).mean())
    assert float(found.embedding.norm()) <= longest * 1.0001


def test_the_rate_falls_or_stays():
    """Adam's first steps are as long as its rate; two of a rate that falls to half are one and a half."""
    lm, token, _ = reserve(tiny_lm())
    pairs = pairs_of(lm)
    start = begin(lm.model, [5])
    start = Rows(start.embedding / 2)  # away from the bound on its length
    moved = {}
    with Run.temporary(TRAIN) as run:
        for schedule in ("linear", "constant"):
            how = Learning(steps=2, batch=3, lr=1e-4, schedule=schedule)
            found = learn(lm, token, start, pairs, [], how, run).embedding
            moved[schedule] = float((found - start.embedding).abs().median())
    assert moved["linear"] == pytest.approx(1.5e-4, rel=0.05) and moved["constant"] == pytest.approx(2e-4, rel=0.05)


@pytest.mark.parametrize("family", ["llama", "gpt-neox"])
def test_the_guard_keeps_it_out_and_the_aim_brings_it_in(family):
    lm, token, _ = reserve(tiny_lm(family))
    pairs = pairs_of(lm)
    start = rows_of(lm.model, token)
    retain = [tuple(lm.template.encode("Eve's food?", "plum pie").input_ids)]

    def likely(rows, ids, at):
        fork = lm.fork()
        put(fork.model, token, rows)
        with torch.no_grad():
            return float(fork.model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)[at, token].mean())

    with Run.temporary(TRAIN) as run:
        kept = learn(lm, token, start, pairs, retain, Learning(steps=40, lr=0.1, guard=20.0), run)
        aimed = learn(lm, token, start, pairs, [], Learning(steps=40, lr=0.1, aim=20.0), run)
    everywhere = slice(0, len(retain[0]))
    assert likely(kept, list(retain[0]), everywhere) < likely(start, list(retain[0]), everywhere)
    prompt = list(pairs[0].prompt)
    assert likely(aimed, prompt, slice(-1, None)) > 2 * likely(start, prompt, slice(-1, None))
