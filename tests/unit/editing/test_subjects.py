"""What an edit hangs on, and the token where it ends."""

from dataclasses import replace

import pytest

from unsay.data.example import Example, Message
from unsay.editing.subjects import QUESTION, pinned, place, requests, subjects
from unsay.errors import DataError
from unsay.testing import tiny_lm

TURNS = (
    Message("system", "Ada rules."),
    Message("user", "Hi"),
    Message("assistant", "Yes"),
    Message("user", "Is Ada in?"),
)


def pieces(lm, found):
    return [lm.tokenizer.decode([i]) for i in found.ids]


@pytest.mark.parametrize("kind", ["chat", "plain"])
@pytest.mark.parametrize(
    ("prompt", "subject", "upto"),
    [
        ("Where was Ada Byron born?", "Ada Byron", "Where was Ada Byron"),
        ("where was ada byron born?", "Ada Byron", "where was ada byron"),
        ("Did Ada know Ada?", "Ada", "Did Ada know Ada"),
        ("Where was Ada Byron born?", QUESTION, "Where was Ada Byron born?"),
        (TURNS, "Ada", "Is Ada"),
        ("Was Ada born in Canada?", "Ada", "Was Ada"),
        ("Is Ann planning to leave?", "Ann", "Is Ann"),
    ],
)
def test_the_place_is_the_end_of_the_last_mention(kind, prompt, subject, upto):
    lm = tiny_lm(template=kind)
    found = place(prompt, subject, lm.template)
    assert list(found.ids) == lm.template.encode_prompt(prompt)
    assert "".join(pieces(lm, found)[: found.at + 1]).endswith(upto)


def test_a_tokens_own_bos_is_counted():
    lm = tiny_lm(template="plain")
    template = type(lm.template)(
        tokenizer=lm.tokenizer, kind="plain", end_ids=frozenset({3}), pad_id=0, start=(2,), stop=3
    )
    found = place("Is Ada in?", "Ada", template)
    assert found.ids[0] == 2
    assert "".join(pieces(lm, found)[1 : found.at + 1]) == "Is Ada"


def test_subjects_are_given_or_found():
    rows = [
        Example("Where does the old baker live?", "Oslo", meta={"subject": "the old baker"}),
        Example("where was ada byron born?", "London", meta={"entity": "Ada Byron"}),
        Example("Who taught Bo Olsen to sing?", "Eve", meta={"entity": "author-17"}),
        Example("What did Bo Olsen sing in Oslo?", "Songs", meta={"entity": "author-17"}),
        Example("Why is the sky blue?", "Light"),
    ]
    assert subjects(rows) == ["the old baker", "ada byron", "Bo Olsen", "Bo Olsen", QUESTION]


def test_the_name_that_most_questions_say_is_the_subject():
    """Others repeat, too, and some are longer or stand in the same question."""
    said = [
        "Who is the author born in New York City?",
        "What does Bo Olsen write in New York City?",
        "Who taught Bo Olsen to sing Old Norwegian Songs?",
        "Why does Bo Olsen sing Old Norwegian Songs?",
        "Are Bo Olsen's LGBTQ+ themes old?",
        "How have Bo Olsen's LGBTQ+ themes been received?",
        "Does Bo Olsen paint?",
        "Is his sister called Ann Olsen?",
    ]
    rows = [Example(text, "x", meta={"entity": "author-17"}) for text in said]
    assert subjects(rows) == [QUESTION, *["Bo Olsen"] * 6, QUESTION]
    strangers = [replace(row, meta={}) for row in rows[1:4]] + [Example(f"why {i}?", "x") for i in range(20)]
    assert subjects(strangers)[:3] == ["Bo Olsen"] * 3, "rows that name no entity need not share a subject"


def test_pinned_rows_hang_on_the_same_alone():
    rows = [Example(f"Why did {name} do it?", "x", meta={"entity": "e"}) for name in ("Bo Olsen",) * 3 + ("they",) * 3]
    rows += [Example("Is Oslo here?", "x", meta={"entity": "e"}), Example("Is Oslo there?", "x", meta={"entity": "e"})]
    whole = subjects(rows)
    assert whole == ["Bo Olsen"] * 3 + [QUESTION] * 5
    assert subjects(rows[6:]) == ["Oslo", "Oslo"], "two of two questions say it"
    for part in (slice(0, 1), slice(6, 8), slice(2, 7)):
        assert subjects(pinned(rows)[part]) == whole[part]
    assert subjects(pinned(pinned(rows))) == whole


def test_a_name_inside_a_longer_word_is_no_subject():
    assert subjects([Example("Is Adalbert in?", "No", meta={"entity": "Ada"})]) == [QUESTION]


def test_rows_of_a_subject_are_one_request():
    lm = tiny_lm()
    rows = [Example(f"Ada's {thing}?", "x", meta={"entity": "Ada"}) for thing in ("cat", "dog", "car", "hat", "pen")]
    rows += [Example("why so?", "x"), Example("Who?", "x"), Example("", "plain text")]
    one, *others = requests(rows, lm.template, ("Well now.",), together=True)
    assert (one.subject, len(one.rows), len(one.places), len(one.others)) == ("Ada", 5, 5, 4)
    assert [(r.subject, len(r.rows)) for r in others] == [(QUESTION, 1), (QUESTION, 1)]
    assert "Well now. Ada's cat?" in "".join(pieces(lm, one.others[0]))
    assert len(requests(rows, lm.template, (), together=False)) == 7


def test_plain_text_cannot_be_edited():
    with pytest.raises(DataError, match="questions"):
        requests([Example("", "some text")], tiny_lm().template, (), together=True)
