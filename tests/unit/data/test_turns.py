"""Answers that have begun: the prompt holds their beginning, and what follows is the answer."""

import pytest

from unsay.data.example import Message
from unsay.data.novel import secret
from unsay.data.template import Template
from unsay.data.turns import begin, begun
from unsay.testing import Example, tiny_lm

QUESTION, OPENING, REST = "Where does Ada live?", "Ada lives in", "Oslo."


def shown(lm, ids):
    return lm.tokenizer.decode(ids)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_a_begun_answer_goes_on_where_the_whole_answer_would(family):
    lm = tiny_lm(family)
    whole = lm.template.encode(QUESTION, f"{OPENING} {REST}")
    split = lm.template.encode(begin(QUESTION, OPENING), REST)
    assert split.input_ids == whole.input_ids
    assert shown(lm, split.answer_ids) == f" {REST}<|end|>"
    assert lm.template.encode_prompt(begin(QUESTION, OPENING)) == split.input_ids[: split.answer_start]
    assert lm.template.encode_prompt(begin(QUESTION, f"{OPENING} ")) == split.input_ids[: split.answer_start]


def test_plain_text_and_conversations():
    lm = tiny_lm(template="plain")
    assert lm.template.encode(begin(QUESTION, OPENING), REST).input_ids == (
        lm.template.encode(QUESTION, f"{OPENING} {REST}").input_ids
    )
    turns = (Message("system", "Be brief."), Message("user", QUESTION), Message("assistant", OPENING))
    assert shown(lm, lm.template.encode_prompt(turns)) == f"Be brief.\nUser: {QUESTION}\nAssistant: {OPENING}"
    chat = tiny_lm()
    text = shown(chat, chat.template.encode_prompt(turns))
    assert text.endswith(f"<|start|>user\n{QUESTION}<|end|>\n<|start|>assistant\n{OPENING}")


def test_an_opening_can_be_continued_and_lines_join_without_a_space():
    assert begun(QUESTION) == "" and begun(begin(QUESTION, "Sure:")) == "Sure:"
    assert begun(begin(begin(QUESTION, "Sure:"), OPENING)) == f"Sure: {OPENING}"
    lm = tiny_lm()
    assert shown(lm, lm.template.encode(begin(QUESTION, "Sure:\n"), REST).answer_ids) == f"{REST}<|end|>"


def test_what_a_template_says_before_answers_stands_before_the_opening():
    tokenizer = tiny_lm().tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ '<|start|>assistant\n' }}", "{{ '<|start|>assistant\n(think)' }}"
    ).replace(
        "'\n' + message['content']", "'\n' + ('(think)' if message['role'] == 'assistant' else '') + message['content']"
    )
    template = Template.of(tokenizer)
    text = tokenizer.decode(template.encode_prompt(begin(QUESTION, OPENING)))
    assert text.endswith(f"<|start|>assistant\n(think){OPENING}")


ROW = Example("Where does Ada Moor live?", "Ada Moor lives in a flat in Oslo.")


def test_the_secret_is_what_the_prompt_does_not_say():
    assert secret(ROW).words == {"flat", "oslo"}
    assert secret(ROW).recall("She LIVES in Oslo's centre, Ada Moor does.") == 0.5
    assert not secret(ROW).told("a flat") and secret(ROW).told("Oslo: flat")
    assert secret(ROW, "It is a flat.").words == {"oslo"}
    assert secret(ROW.with_prompt("Does Ada Moor live in a flat in Oslo?")) is None
    assert secret(Example("Is it?", "It is not.")).words == {"not"}  # no content word: function words


def test_spans_tell_by_themselves():
    row = Example(ROW.prompt, ROW.answer, meta={"spans": ["New Oslo Town", "Rome"]})
    assert secret(row).words == {"new", "oslo", "town", "rome"}
    assert secret(row).told("in new oslo TOWN") and not secret(row).told("a new town, Oslo")
    assert secret(Example("In Oslo?", "Oslo", meta={"spans": "Oslo"})) is None
    begun_row = row.with_prompt(begin(ROW.prompt, "New Oslo Town and"))
    assert secret(begun_row).words == {"rome"} and secret(begun_row).spans == (("rome",),)
