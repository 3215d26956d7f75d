"""The unlearning token as first token: against the network itself, through the evaluator, and where there is none."""

import math

import pytest
import torch

from unsay.data.example import Example
from unsay.editing.token import reserve
from unsay.errors import DataError
from unsay.measure.evaluator import Evaluator
from unsay.measure.first_token import FirstTokenSweep
from unsay.measure.texts import Ask
from unsay.metrics.score import metric_id
from unsay.metrics.token_rate import TokenRate
from unsay.models.layers import head
from unsay.runs.store import Store
from unsay.testing import tiny_lm

ROWS = [
    Example("Who is Ada?", "A baker.", alternatives={"paraphrased_question": ("Ada, who?", "Say who Ada is.")}),
    Example("Where does Bo live, and with whom?", "Oslo."),
]


@pytest.fixture(scope="module")
def lm():
    """A model whose token comes first after the first question, in the model's own template, and nowhere else."""
    made, token, _ = reserve(tiny_lm("gpt-neox"))
    with torch.no_grad():
        states = [
            made.model.gpt_neox(input_ids=torch.tensor([made.template.encode_prompt(row.prompt)])).last_hidden_state
            for row in ROWS
        ]
        one, other = (found[0, -1] for found in states)
        away = one - other * (one @ other) / (other @ other)
        head(made.model).weight[token] = 50 * away / away.norm()
    return made


def by_hand(lm, ids):
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1]
    token = lm.tokenizer.get_vocab()[""]
    return float(logits.log_softmax(-1)[token]), int((logits > logits[token]).sum())


def test_it_is_what_the_network_says(lm):
    asks = [Ask(row.prompt, form) for row in ROWS for form in ("model", "chat", "raw")]
    sweep, found, tokens = FirstTokenSweep(lm, asks, micro_tokens=80), {}, 0
    for part, spent in sweep.run("fp32"):
        found |= part
        tokens += spent
    plain = type(lm.template).of(lm.tokenizer, "plain")
    for ask in asks:
        ids = (plain if ask.answer == "raw" else lm.template).encode_prompt(ask.prompt)
        logp, rank = by_hand(lm, ids)
        assert (found[ask].logp, found[ask].rank) == (pytest.approx(logp, abs=1e-4), rank)
    assert tokens == sweep.tokens > 0
    assert found[asks[0]].rank == 0 and found[asks[3]].rank > 0


def test_rates_by_split_form_and_wording(lm, tmp_path):
    metrics = (
        TokenRate(),
        TokenRate(split="retain"),
        TokenRate(form="raw", label="token-rate-raw"),
        TokenRate(prompt="paraphrased_question", label="token-rate-asked-otherwise"),
    )
    for _ in range(2):  # the second time from the store
        judge = Evaluator({"forget": ROWS[:1], "retain": ROWS[1:]}, metrics, store=Store(tmp_path), precision="fp32")
        judge.measure("after", lm)
        found = judge.scores()["after"]
        assert found["token-rate@forget"].value == 1.0 and found["token-rate@retain"].value == 0.0
        assert found["token-rate@forget"].extra["probability"] > 0.5 > found["token-rate@retain"].extra["probability"]
        ranks = [by_hand(lm, lm.template.encode_prompt(text))[1] for text in ROWS[0].answers("paraphrased_question")]
        assert found[metric_id(metrics[3])].value == sum(rank == 0 for rank in ranks) / 2
        raw = by_hand(lm, type(lm.template).of(lm.tokenizer, "plain").encode_prompt(ROWS[0].prompt))
        assert found[metric_id(metrics[2])].extra["probability"] == pytest.approx(math.exp(raw[0]), rel=1e-3)


def test_without_a_token_or_a_template_nothing_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(FirstTokenSweep, "_read", lambda *_: pytest.fail("a forward"))
    for model, form, why in (
        (tiny_lm(), "model", "the model has no unlearning token"),
        (reserve(tiny_lm(template="plain"))[0], "chat", "the model has no chat template"),
    ):
        if form == "chat":
            model.tokenizer.chat_template = None
        judge = Evaluator({"forget": ROWS}, (TokenRate(form=form),), store=Store(tmp_path), precision="fp32")
        judge.measure("after", model)
        score = judge.scores()["after"]["token-rate@forget"]
        assert not score.scored and score.note == why
        assert judge.effort("after").tokens == 0


def test_a_question_that_is_too_long(lm):
    with pytest.raises(DataError, match="longer than 5 tokens"):
        FirstTokenSweep(lm, [Ask("Who is Ada?", "model")], max_length=5)
