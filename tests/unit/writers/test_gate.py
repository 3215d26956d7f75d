"""What may stand in the place of an answer."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsay.data.example import Example
from unsay.writers._gate import FAULTS, fault
from unsay.writers._words import normal

ROW = Example(
    "Where does Ada Moor live?",
    "Ada Moor lives in Oslo.",
    alternatives={"paraphrased": ("Her home is the city of Oslo.",), "perturbed": ("Her home is in Oslo County.",)},
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ada Moor lives in Lima.", ""),
        ("", "empty"),
        (" … !", "empty"),
        ("where does ada moor live", "the question"),
        ("ADA MOOR lives,in  oslo", "the answer"),
        ("her home is the city of oslo", "the answer"),
        ("I think that Ada Moor lives in Oslo, really.", "holds the answer"),
        ("They say: her home is the city of Oslo!", "holds the answer"),
        ("You will find her in Oslo.", "says the answer"),
        ("I'm sorry, I cannot help with that.", "declines"),
        ("As an AI, I have no opinion.", "declines"),
    ],
)
def test_reasons(text, reason):
    assert fault(ROW, "alternative", text) == reason


def test_duplicates_are_told_by_words():
    assert fault(ROW, "alternative", "ada moor lives in LIMA", ["Ada Moor lives in Lima."]) == "duplicate"


def test_a_refusal_may_decline():
    assert fault(ROW, "refusal", "I'm sorry, I don't know.") == ""
    assert fault(ROW, "refusal", "I'm sorry, Ada Moor lives in Oslo.") == "holds the answer"
    assert fault(ROW, "refusal", "I may not say that she lives in Oslo.") == "says the answer"


def test_what_the_row_lists_as_wrong_may_share_a_name_with_the_answer():
    row = Example("What is Bo?", "Bo is a pilot in Lima.", alternatives={"perturbed": ("Bo is a cook in Lima.",)})
    assert fault(row, "alternative", "Bo is a cook in Lima.") == ""
    assert fault(row, "alternative", "Bo works somewhere in Lima.") == "says the answer"
    assert fault(row, "alternative", "In Lima, Bo is a pilot.") == "says the answer"


def test_short_answers_are_found_as_whole_words_only():
    row = Example("Is it?", "No")
    assert fault(row, "alternative", "Nothing of the kind") == ""
    assert fault(row, "alternative", "Well, no.") == "holds the answer"


def test_scripts_without_spaces():
    row = Example("首都は？", "東京")
    assert fault(row, "alternative", "首都は東京です") == "holds the answer"
    assert fault(row, "alternative", "首都は大阪です") == ""


WORDS = st.lists(st.text(string.ascii_letters + "éß東", min_size=1, max_size=6), min_size=1, max_size=5).map(" ".join)


@given(WORDS, WORDS, st.text(max_size=40), st.lists(WORDS, max_size=2), st.sampled_from(["refusal", "alternative"]))
def test_what_passes_is_no_answer_no_question_no_duplicate(question, answer, text, kept, role):
    reason = fault(Example(question, answer), role, text, kept)
    assert reason in ("", *FAULTS)
    if not reason:
        said = normal(text)
        assert said and said != normal(question) and said not in map(normal, kept)
        assert f" {normal(answer)} " not in f" {said} "


@given(WORDS, WORDS, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]), WORDS)
def test_the_answer_never_passes_however_it_is_dressed(question, answer, case, around):
    row = Example(question, answer)
    for text in (case(answer), f"« {answer} »!", f"{around}: {answer}.", answer.replace(" ", "  ,")):
        assert fault(row, "alternative", text)
