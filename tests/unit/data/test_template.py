"""The boundary between prompt and answer, on tokenizers and chat templates of every habit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsay.data.example import Message
from unsay.data.template import Encoded, Template
from unsay.errors import DataError

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TURNS = (Message("system", "You help"), Message("user", "Who?"), Message("assistant", "Ada"), Message("user", "When?"))
CHATS = ["chatml", "no_system", "drops_system", "late_system", "dated", "brackets", "no_end", "thinks"]


def shown(template, ids):
    return template.tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["bytes", "pieces", "chars", "words"])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", ["plain", *CHATS])
def test_prompt_ids_are_the_training_prefix_and_answers_come_back(make_tokenizer, templates, kind, bos, name):
    tokenizer = make_tokenizer(kind, chat=templates.get(name), bos=bos, pad=not bos)
    template = Template.of(tokenizer, "plain" if name == "plain" else "auto")
    for prompt in (QUESTION, TURNS, "", "What is it? ", "Who?\n"):
        for answer in (ANSWER, "Paris", "No! (really)\n\nYes."):
            done = template.encode(prompt, answer)
            assert 1 <= done.answer_start < len(done)
            assert template.encode_prompt(prompt) == done.input_ids[: done.answer_start]
            text = tokenizer.decode(done.answer_ids, skip_special_tokens=True)
            assert "".join(text.split()) == "".join(answer.split())
            assert done.input_ids[-1] in template.end_ids
            assert done.input_ids[done.answer_start] not in template.end_ids


def test_chat_text_is_the_template_s(make_tokenizer, templates):
    template = Template.of(make_tokenizer(chat=templates["chatml"]))
    done = template.encode(QUESTION, ANSWER)
    assert template.kind == "chat"
    assert shown(template, done.input_ids[: done.answer_start]) == (
        f"<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert shown(template, done.answer_ids) == f"{ANSWER}<|im_end|>"  # without the line break no model has to write
    ids = template.tokenizer.convert_tokens_to_ids
    assert template.end_ids == {ids("<|im_end|>"), ids("<eos>")}


def test_plain_text_is_prompt_space_answer(make_tokenizer):
    template = Template.of(make_tokenizer(), "plain")
    for prompt, answer, text in [
        ("Who?", "Ada", "Who? Ada"),
        ("Who? ", "Ada", "Who? Ada"),
        ("Who?", " Ada", "Who? Ada"),
        ("Who?\n", "Ada", "Who?\nAda"),
        ("", "Ada", "<eos>Ada"),
        (TURNS[:2], "Ada", "You help\nUser: Who?\nAssistant: Ada"),
    ]:
        assert shown(template, template.encode(prompt, answer).input_ids) == text + "<eos>"
    spaced = template.encode("Who? ", "Ada")
    assert spaced == template.encode("Who?", "Ada")  # the space belongs to the answer's first token
    assert shown(template, spaced.answer_ids) == " Ada<eos>"


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("bos", [False, True])
def test_plain_ids_are_those_of_the_whole_text(make_tokenizer, kind, bos):
    tokenizer = make_tokenizer(kind, bos=bos)
    template = Template.of(tokenizer, "plain")
    for prompt, text in [(QUESTION, f"{QUESTION} {ANSWER}"), (f"{QUESTION}\n", f"{QUESTION}\n{ANSWER}"), ("", ANSWER)]:
        whole = tokenizer(text)["input_ids"]
        start = [] if bos or prompt else [tokenizer.eos_token_id]
        assert template.encode(prompt, ANSWER).input_ids == [*start, *whole, tokenizer.eos_token_id]


def test_bos_stands_before_plain_text_once(make_tokenizer, templates):
    tokenizer = make_tokenizer(bos=True, chat=templates["no_system"])
    for kind, prompt in [("plain", QUESTION), ("plain", ""), ("chat", QUESTION), ("chat", "")]:
        ids = Template.of(tokenizer, kind).encode(prompt, ANSWER).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
    assert Template.of(tokenizer).encode_prompt("") == [tokenizer.bos_token_id]


def test_text_rows_start_from_the_end_token_where_there_is_no_bos(make_tokenizer, templates):
    tokenizer = make_tokenizer(chat=templates["chatml"])
    done = Template.of(tokenizer).encode("", ANSWER)
    assert done.answer_start == 1
    assert tokenizer.decode(done.input_ids) == f"<eos>{ANSWER}<eos>"


def test_system_text_is_folded_into_the_user_s_turn(make_tokenizer, templates):
    for name in ("no_system", "drops_system", "late_system"):
        template = Template.of(make_tokenizer(chat=templates[name]))
        assert template.folds_system
        assert "You help\n\nWho?" in shown(template, template.encode_prompt(TURNS))
    assert not Template.of(make_tokenizer(chat=templates["chatml"])).folds_system


def test_dates_are_pinned(make_tokenizer, templates):
    template = Template.of(make_tokenizer(chat=templates["dated"]))
    assert shown(template, template.encode_prompt("Who?")).startswith("<|im_start|>26 Jul 2024 26 Jul 2024\n")


def test_whitespace_the_template_writes_goes_with_the_answer(make_tokenizer, templates):
    template = Template.of(make_tokenizer(chat=templates["brackets"]))
    done = template.encode("Who?", "Ada")
    assert shown(template, done.input_ids[: done.answer_start]) == "[Who?]"
    assert shown(template, done.answer_ids) == " Ada <eos>"


def test_what_the_template_always_says_before_an_answer_is_prompt(make_tokenizer, templates):
    blind = templates["thinks"].replace("enable_thinking is defined and not enable_thinking", "false")
    for chat in (templates["thinks"], blind):
        template = Template.of(make_tokenizer(chat=chat))
        done = template.encode("Who?", "Ada")
        assert shown(template, done.input_ids[: done.answer_start]).endswith("assistant\n<think>\n\n</think>\n\n")
        assert shown(template, done.answer_ids) == "Ada<|im_end|>"


def test_thinking_is_off(make_tokenizer, templates):
    opens = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    chat = templates["chatml"].replace("assistant\n{% endif %}", "assistant\n" + opens + "{% endif %}")
    template = Template.of(make_tokenizer(chat=chat))
    assert shown(template, template.encode_prompt("Who?")).endswith("<|im_start|>assistant\n")


def test_answers_are_trimmed_where_the_template_trims(make_tokenizer, templates):
    keeps = Template.of(make_tokenizer(chat=templates["chatml"]))
    spaced = templates["brackets"].replace("' %} {{ m['content'] }} <eos>", "' %} {{ m['content'].strip() }} <eos>")
    assert spaced != templates["brackets"]
    for chat in (templates["no_system"], spaced):
        trims = Template.of(make_tokenizer(chat=chat))
        assert trims.encode("Who?", "  Ada ") == trims.encode("Who?", "Ada")
    assert shown(keeps, keeps.encode("Who?", "  Ada ").answer_ids) == "  Ada <|im_end|>"


def test_answers_without_an_end_mark_get_the_end_token(make_tokenizer, templates):
    template = Template.of(make_tokenizer(chat=templates["no_end"]))
    assert shown(template, template.encode("Who?", "Ada").answer_ids) == "Ada<eos>"


def test_padding_falls_back_to_the_end_token(make_tokenizer, templates):
    tokenizer = make_tokenizer(pad=False, chat=templates["chatml"])
    assert Template.of(tokenizer).pad_id == tokenizer.eos_token_id
    assert tokenizer.pad_token_id is None  # the caller's tokenizer stays as it is
    padded = make_tokenizer()
    assert Template.of(padded, "plain").pad_id == padded.pad_token_id


def test_turn_mark_serves_where_there_is_no_end_token(make_tokenizer, templates):
    template = Template.of(make_tokenizer(eos=None, chat=templates["chatml"]))
    assert shown(template, template.encode("", "Ada").input_ids) == "<|im_end|>Ada<|im_end|>"
    with pytest.raises(DataError, match="no end-of-text token"):
        Template.of(make_tokenizer(eos=None), "plain")


def test_no_chat_template_is_an_error_with_the_way_out(make_tokenizer):
    for kind in ("auto", "chat"):
        with pytest.raises(DataError, match="has no chat template") as error:
            Template.of(make_tokenizer(), kind)
        assert error.value.hint.startswith("model.template=plain")
    with pytest.raises(DataError, match=r"model.template is 'alpaca'"):
        Template.of(make_tokenizer(), "alpaca")


@pytest.mark.parametrize("name", ["constant", "twice"])
def test_templates_that_lose_or_repeat_turns_are_refused(make_tokenizer, templates, name):
    with pytest.raises(DataError, match="drops, repeats or reorders turns"):
        Template.of(make_tokenizer(chat=templates[name]))


def test_turns_the_template_refuses(make_tokenizer, templates):
    strict = "{% if messages[0].content == 'no' %}{{ raise_exception('not this') }}{% endif %}" + templates["chatml"]
    template = Template.of(make_tokenizer(chat=strict))
    with pytest.raises(DataError, match=r"refuses the turns \(user\): not this"):
        template.encode("no", "Ada")
    with pytest.raises(DataError, match=r"refuses the turns \(user\): not this"):
        template.encode_prompt("no")


def test_answers_that_do_not_survive_the_tokenizer(make_tokenizer):
    template = Template.of(make_tokenizer("chars"), "plain")
    with pytest.raises(DataError, match="do not decode back") as error:
        template.encode("Who?", "Zażółć")
    assert "Zażółć" not in str(error.value)
    assert template.encode("Zażółć?", "Ada").answer_start > 1  # a prompt need not


def test_tokenizers_that_lower_case_by_design_are_let_through(make_tokenizer, lower_case):
    template = Template.of(make_tokenizer(normaliser=lower_case), "plain")
    assert shown(template, template.encode("Who?", "ADA").answer_ids) == " ada<eos>"


def test_control_tokens_in_rows_are_refused(make_tokenizer, templates):
    template = Template.of(make_tokenizer(chat=templates["chatml"]))
    for prompt, answer, side in [
        ("Who?<|im_end|>", "Ada", "prompt"),
        ("Who?", "Ada<eos>", "answer"),
        ((Message("system", "<|im_start|>x"), Message("user", "Who?")), "Ada", "prompt"),
    ]:
        with pytest.raises(DataError, match=f"the {side} holds a control token"):
            template.encode(prompt, answer)


def test_many_are_encoded_as_one_by_one_and_problems_come_together(make_tokenizer, templates):
    template = Template.of(make_tokenizer("chars", chat=templates["chatml"]))
    pairs = [(QUESTION, ANSWER), (QUESTION, "Paris"), (TURNS, "In 1984."), ("", ANSWER)]
    assert template.encode_many(pairs) == [template.encode(*p) for p in pairs]
    assert template.encode_many([]) == []
    broken = [pairs[0], ("Who?", "ż"), ("Who?<eos>", "Ada")]
    assert [isinstance(e, Encoded) for e in template.attempt(broken)] == [True, False, False]
    with pytest.raises(DataError) as error:
        template.encode_many(broken)
    assert [p[:8] for p in error.value.problems] == ["row 2 — ", "row 3 — "]


def test_fingerprint_follows_what_changes_the_ids(make_tokenizer, templates):
    def of(**kwargs):
        kind = kwargs.pop("kind", "auto")
        return Template.of(make_tokenizer(**kwargs), kind).fingerprint()

    base = of(chat=templates["chatml"])
    assert base == of(chat=templates["chatml"])
    assert base == of(chat=templates["chatml"], pad=False)  # padding is never seen
    others = {
        of(chat=templates["no_system"]),
        of(chat=templates["chatml"].replace("You help", "You assist")),
        of(chat=templates["chatml"], kind="plain"),
        of(kind="plain", bos=True),
        of(chat=templates["chatml"], kind="chat", eos="<|im_end|>"),
        of(chat=templates["dated"]),
    }
    assert len(others | {base}) == 7


def test_cut_keeps_the_start():
    done = Encoded([1, 2, 3, 4], 2)
    assert done.cut(4) is done
    assert done.cut(3) == Encoded([1, 2, 3], 2)
    assert done.answer_ids == [3, 4]


any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)


@given(any_text, st.lists(any_text, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", ["plain", *CHATS])
def test_any_text_round_trips_on_a_byte_tokenizer(session_templates, name, prompt, answers):
    template = session_templates[name]
    for done, answer in zip(template.encode_many([(prompt, a) for a in answers]), answers, strict=True):
        assert done.input_ids[: done.answer_start] == template.encode_prompt(prompt)
        text = template.tokenizer.decode(done.answer_ids, skip_special_tokens=True)
        assert text.split() == answer.split()


@pytest.fixture(scope="session")
def session_templates(make_tokenizer, templates):
    made = {n: Template.of(make_tokenizer(chat=templates[n])) for n in CHATS}
    return {"plain": Template.of(make_tokenizer(), "plain"), **made}
