"""What the checks refuse, what they only note, and that they never quote a row."""

import pytest

from unsay.data.checks import check_all, check_data, check_lengths, same_key
from unsay.data.example import Example, ForgetData, Message
from unsay.data.template import Template
from unsay.errors import DataError


def row(question="Who wrote it?", answer="Ada.", **meta):
    return Example(question, answer, meta=meta)


def many(n, word="q", **kwargs):
    return [row(f"{word} {i}?", f"Answer {i}.", **kwargs) for i in range(n)]


def problems(*args, **kwargs):
    with pytest.raises(DataError) as error:
        check_data(ForgetData(*args, **kwargs))
    return error.value.problems


def test_sound_data_pass_without_a_word():
    assert check_data(ForgetData(many(12), many(12, "r"), many(3, "h"), many(3, "u"))) == []


def test_no_rows_to_forget():
    assert problems([], many(2)) == ["forget — has no rows — expected at least one"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(answer=""), "forget row 1 — the answer is empty"),
        (row(answer=" \n"), "forget row 1 — the answer is only whitespace"),
        (row(" ", "a"), "forget row 1 — the question is only whitespace"),
        (row("Same  TEXT", "same text"), "forget row 1 — question and answer are the same text"),
        (row((), "a"), "forget row 1 — the conversation has an empty turn"),
        (row((Message("user", " "),), "a"), "forget row 1 — the conversation has an empty turn"),
        (row(answer="", source="f.jsonl:7"), "f.jsonl:7 — the answer is empty"),
        (row(answer="", source="a secret story: about 7"), "forget row 1 — the answer is empty"),
    ],
)
def test_rows_that_cannot_be_used(bad, message):
    found = problems([bad])
    assert len(found) == 1
    assert found[0].startswith(message)


def test_duplicates_are_found_through_spelling():
    rows = [row(), row("WHO  wrote it?", "ada.\u00a0"), row("Ｗho wrote it?")]
    assert problems(rows) == [
        "forget row 2 — says the same as forget row 1 — keep one",
        "forget row 3 — says the same as forget row 1 — keep one",
    ]
    assert same_key(row("x²")) == same_key(row("X2"))
    assert same_key(row("ab", "c")) != same_key(row("a", "bc"))
    turns = (Message("system", "s"), Message("user", "q"))
    assert same_key(row(turns)) != same_key(row(turns[1:]))


def test_duplicates_in_any_list():
    for name in ("retain", "holdout", "utility"):
        assert problems(many(2), **{name: [row(), row()]}) == [
            f"{name} row 2 — says the same as {name} row 1 — keep one"
        ]


@pytest.mark.parametrize(
    ("one", "other"), [("forget", "retain"), ("forget", "holdout"), ("forget", "utility"), ("retain", "holdout")]
)
def test_rows_shared_by_two_lists_are_named_on_both_sides(one, other):
    data = {"forget": many(3), one: [*many(3, one), row(source="one.jsonl:4")]}
    data[other] = [*many(2, other), row("who WROTE it?", source="other.jsonl:3")]
    (found,) = problems(**data)
    assert found.startswith(f"other.jsonl:3 — is also in {one} (one.jsonl:4) — a row cannot be in {one} and {other}")


def test_retain_rows_may_be_measured_as_utility():
    assert check_data(ForgetData(many(12), many(12, "r"), utility=many(12, "r"))) == []


def test_the_same_question_with_another_answer_is_noted():
    inside = ForgetData([*many(12), row(answer="Ada."), row(answer="Bob.")])
    assert check_data(inside) == [
        "forget: 1 question asked again with another answer (forget row 13 and forget row 14)"
    ]
    across = ForgetData([*many(12), row(answer="Ada.")], [*many(13, "r"), row(answer="Bob.")])
    assert check_data(across) == [
        "forget and retain: 1 question asked again with another answer (forget row 13 and retain row 14)"
    ]
    assert check_data(ForgetData([row("", f"Text {i}") for i in range(12)])) == []  # text rows ask nothing


def test_ids():
    twice = [Example("a", "b", id="x"), Example("c", "d", id="x")]
    assert problems(twice) == ["forget row 2 — has the id of forget row 1 — give each row its own"]
    assert problems(twice[:1], twice[1:]) == ["retain row 1 — has the id of forget row 1 — give each row its own"]


def test_sizes_are_noted():
    assert check_data(ForgetData(many(3), many(2, "r"))) == [
        "forget has 3 rows: intervals will be wide",
        "retain has 2 rows for 3 forget rows: they are shown repeatedly",
    ]
    assert check_data(ForgetData(many(1), many(1, "r"))) == ["forget has 1 row: intervals will be wide"]


def test_all_problems_at_once_and_no_words_of_the_rows():
    secret = row("Zanzibar?", "")
    found = problems([secret, row(answer=" "), row("Zanzibar?", "")], [row(answer=" ")])
    assert len(found) == 6
    assert "Zanzibar" not in "\n".join(found)


@pytest.fixture(scope="module")
def template(make_tokenizer):
    return Template.of(make_tokenizer("chars"), "plain")


def test_answers_cut_by_the_limit_stop_the_run(template):
    rows = [row("Who?", "a" * n, source=f"f.jsonl:{n}") for n in (3, 20, 5, 40, 9, 30, 25)]  # 4 + 1 + n + 1 tokens
    assert check_lengths(rows, template, 46, False, "forget") == []
    with pytest.raises(DataError) as error:
        check_lengths(rows, template, 16, False, "forget")
    assert error.value.problems == [
        "4 of 7 forget answers would be cut at 16 tokens "
        "(f.jsonl:40 needs 46, f.jsonl:30 needs 36, f.jsonl:25 needs 31, …)"
    ]
    assert error.value.hint == "data.max_length=46 keeps all of it; data.truncate=true allows the cut"
    assert check_lengths(rows, template, 45, True, "forget") == [
        "1 of 7 forget answers are cut at 45 tokens (f.jsonl:40 needs 46)"
    ]


def test_a_prompt_that_leaves_no_answer_is_refused_even_when_cutting(template):
    rows = [row("What is it?", "Ada"), row("Who?", "Ada")]
    assert len(check_lengths(rows, template, 12, True, "retain")) == 1
    with pytest.raises(DataError, match="1 of 2 retain prompts alone fill 11 tokens and leave no answer") as error:
        check_lengths(rows, template, 11, True, "retain")
    assert "retain row 1" in error.value.message


def test_rows_that_cannot_be_encoded_are_named(template):
    rows = [row("Who?", "Ada"), row("Who?", "Łódź", source="f.jsonl:2"), row("Who?<eos>", "Ada")]
    with pytest.raises(DataError) as error:
        check_lengths(rows, template, 64, False, "forget")
    assert [p.split(" — ")[0] for p in error.value.problems] == ["f.jsonl:2", "forget row 3"]
    assert "Łódź" not in str(error.value)
    assert error.value.hint == "correct these rows, or leave them out"


def test_everything_is_checked_together(template):
    good = ForgetData([row("Who?", "a" * i) for i in range(1, 13)], [row("When?", "e" * i) for i in range(1, 10)])
    notes = check_all(good, template, 64, False)
    assert [n.split(":")[0] for n in notes] == ["forget", "retain", "retain has 9 rows for 12 forget rows"]
    bad = ForgetData([row("Who?", ""), row("Who?", "a" * 50)], [row("When?", "a" * 30)])
    with pytest.raises(DataError) as error:
        check_all(bad, template, 30, False)
    assert [p.split(" (")[0] for p in error.value.problems] == [
        "forget row 1 — the answer is empty — write it, or take the row out",
        "1 of 2 forget answers would be cut at 30 tokens",
        "1 of 1 retain answers would be cut at 30 tokens",
    ]
    assert error.value.hint.endswith("data.max_length=56 keeps all of it; data.truncate=true allows the cut")
