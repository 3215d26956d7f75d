"""Texts by rule: the same each time, wrong, and about the right person."""

import dataclasses

import pytest

from unsay.benchmarks.tofu import Tofu
from unsay.data.example import Example
from unsay.errors import DataError, PlanError
from unsay.runs.run import Run
from unsay.writers import obtain
from unsay.writers._spans import capitals, spans
from unsay.writers.templates import Templates


def test_refusals_differ_between_rows_and_repeat_for_a_seed(rows, run):
    first = obtain(Templates(), rows, "refusal", 1, run)
    assert len(set(first)) > 10
    with Run.temporary() as again, Run.temporary(seed=1) as other:
        assert obtain(Templates(), rows, "refusal", 1, again) == first
        assert obtain(Templates(), rows, "refusal", 1, other) != first
        assert obtain(Templates(), rows[::-1], "refusal", 1, again) == first[::-1]


def test_alternatives_are_about_the_row_and_come_from_others(rows, run):
    texts = dict(zip([r.question for r in rows], obtain(Templates(), rows, "alternative", 5, run), strict=True))
    cities = {"Lima", "Cairo", "Turin", "Lyon", "Riga", "Pécs"}
    assert set(texts["Where does Ada Moor live?"]) <= {f"Ada Moor lives in {city}." for city in cities}
    assert all(t.startswith("Ada Moor was born in 19") for t in texts["When was Ada Moor born?"])
    assert all(t.startswith('Ada Moor wrote "') and t.endswith('".') for t in texts["What did Ada Moor write?"])
    jobs = texts["What does Ada Moor do for a living?"]
    assert {"Ada Moor works as a pilot, and he likes it.", "Ada Moor works as a diver, and he likes it."} <= set(jobs)
    assert not any(" she " in text for text in jobs), "Ada is a he in this data"


def test_alternatives_repeat_for_a_seed(rows, run):
    first = obtain(Templates(), rows, "alternative", 4, run)
    with Run.temporary() as again, Run.temporary(seed=3) as other:
        assert obtain(Templates(), rows, "alternative", 4, again) == first
        assert obtain(Templates(), rows, "alternative", 4, other) != first


def test_wrong_answers_of_the_row_come_first_unless_they_are_the_test(rows, run):
    listed = ("Ada Moor lives in Perth.", "Ada Moor lives in Quito.")
    row = dataclasses.replace(rows[0], alternatives={"perturbed": listed})
    assert obtain(Templates(), [row], "alternative", 2, run, others=rows[4:]) == [listed]
    kept_apart = obtain(Templates(own=False), [row], "alternative", 2, run, others=rows[4:])
    assert not set(kept_apart[0]) & set(listed)


def test_own_texts_of_the_role_come_first(rows, run):
    row = dataclasses.replace(rows[0], alternatives={"refusal": ("Ask Ada.",), "alternative": ("In Bern.",)})
    assert obtain(Templates(), [row], "refusal", 1, run) == [("Ask Ada.",)]
    assert obtain(Templates(), [row], "alternative", 2, run, others=rows)[0][0] == "In Bern."


def test_the_name_itself_is_exchanged_where_it_was_asked_for(rows, run):
    asked = Example("Who was born in Oslo in 1954?", "That was Ada Moor.", meta={"entity": "Ada Moor"})
    texts = obtain(Templates(), [asked], "alternative", 3, run, others=rows)[0]
    assert set(texts) <= {
        f"That was {n}." for n in ("Bo Lind", "Cleo Quist", "Dan Ferro", "Eve Sorel", "Fay Tamm", "Gus Varga")
    }


def test_a_row_on_its_own_has_its_facts_exchanged(run):
    row = Example("What happened?", "The bridge opened on 3 May 1954, nine years late.")
    texts = obtain(Templates(), [row], "alternative", 4, run)[0]
    assert len(texts) == 4
    for text in texts:
        assert text.startswith("The bridge opened on ") and text.endswith(" years late.")
        assert "May" not in text and "1954" not in text and "nine" not in text


def test_too_little_data_names_the_rows(run):
    row = Example("What is it like?", "it is green", id="only-one")
    with pytest.raises(DataError, match="only-one: 0 of 3 alternative texts"):
        obtain(Templates(), [row], "alternative", 3, run)


def test_unknown_role_and_count(rows, run):
    with pytest.raises(PlanError, match="no writer can write 'poem'"):
        obtain(Templates(), rows, "poem", 1, run)
    with pytest.raises(PlanError, match="at least 1"):
        obtain(Templates(), rows, "refusal", 0, run)


def test_plain_text_rows(run):
    rows = [Example("", f"In 19{n} the {n}th mill of Norwich burned down.") for n in (54, 61, 78)]
    for row, texts in zip(rows, obtain(Templates(), rows, "alternative", 3, run), strict=True):
        assert len(set(texts)) == 3 and row.answer not in texts


def test_spans():
    text = 'Can Ana Lua\'s "Red Sea," sold in March 2010 by Bo van Dyk, win nine prizes? Rain fell.'
    named = capitals(["So Ana Lua said.", text])
    assert [(s.kind, s.text) for s in spans(text, named)] == [
        ("name", "Ana Lua"),
        ("title", '"Red Sea,"'),
        ("month", "March"),
        ("number", "2010"),
        ("name", "Bo van Dyk"),
        ("word-number", "nine"),
    ]


def test_a_name_that_is_asked_for_is_never_given(rows, run):
    asked = Example(
        "Who was born in Oslo on 5/3/1954?",
        "That was Ada Moor, on the 5th of March, 1954.",
        meta={"entity": "Ada Moor"},
    )
    for text in obtain(Templates(), [asked], "alternative", 5, run, others=rows)[0]:
        assert "Ada" not in text and "Moor" not in text


def test_a_shared_label_makes_questions_alike(run):
    """No word is common to the questions, so that only `relation` tells which answers fit."""
    rows = [
        Example(f"{ask} {name}{end}", f"{name}: {value}", meta={"entity": name, "relation": relation})
        for relation, asks in {"city": ("Where is", "Home of"), "job": ("Work of", "How earns")}.items()
        for ask, name, end, value in (
            (asks[0], "Ada Moor", "?", f"{relation} zero"),
            (asks[1], "Bo Lind", "!", f"{relation} nought"),
            (asks[1], "Cleo Quist", "…", f"{relation} nil"),
        )
    ]
    for row, texts in zip(rows[::3], obtain(Templates(), rows[::3], "alternative", 2, run, others=rows), strict=True):
        assert {t.split()[2] for t in texts} == {row.meta["relation"]}


def test_tofu(data_dir, run):
    """Every forget row gets five without the benchmark's own wrong answers; few leave the author's name out."""
    data = Tofu(split="forget01", path=str(data_dir / "tofu")).data()
    texts = obtain(Templates(own=False), data.forget, "alternative", 5, run, others=data.retain)
    names = {"author-181": "Basil Mahfouz Al-Kuwaiti", "author-182": "Nikolai Abilov"}
    about = []
    for row, own in zip(data.forget, texts, strict=True):
        assert len(set(own)) == 5
        name = names[row.entity]
        if name in row.question:
            about += [any(word in text for word in name.split()) for text in own]
        else:
            assert not any(name in text for text in own) or "author" not in row.question
    assert sum(about) > 0.8 * len(about)
