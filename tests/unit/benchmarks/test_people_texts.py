"""The bundled texts keep the promises of docs/people.md."""

import json
import re
from collections import Counter, defaultdict
from importlib.resources import files

import pytest

ATTRIBUTES = (
    "birth month",
    "home city",
    "job",
    "illness",
    "food allergy",
    "pet",
    "mother tongue",
    "sport",
    "instrument",
    "way to work",
)


def lines(name):
    text = files("unsay.benchmarks").joinpath("_people", name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


ROWS = lines("persons.jsonl")
WORLD = lines("world.jsonl")
by_row = pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['person']}, {r['attribute']}")


def questions(row):
    return [row["k1"]["question"], row["k1"]["paraphrased_question"], row["k2"]["question"], row["k3"]["question"]]


def answers(row):
    k1 = row["k1"]
    return [k1["answer"], k1["paraphrased_answer"], *k1["perturbed_answer"], row["k2"]["answer"], row["k3"]["answer"]]


def texts(row):
    return [*questions(row), *answers(row), row["bridge"]]


def test_twelve_persons_with_the_same_ten_attributes():
    found = defaultdict(list)
    for row in ROWS:
        found[row["person"]].append(row["attribute"])
    assert len(found) == 12
    assert {tuple(attributes) for attributes in found.values()} == {ATTRIBUTES}


@by_row
def test_form(row):
    assert set(row) == {"person", "attribute", "value", "k1", "k2", "bridge", "k3"}
    for text in texts(row):
        assert text.isascii() and text == " ".join(text.split()) and text[0].isupper()
    assert all(q.endswith("?") and row["person"] in q for q in questions(row))
    assert all(a.endswith(".") and 6 <= len(a.split()) <= 16 for a in answers(row))


@by_row
def test_k1_states_the_value_and_nothing_else_does(row):
    value = row["value"].lower()
    assert value in row["k1"]["answer"].lower() and value in row["k1"]["paraphrased_answer"].lower()
    assert value in row["bridge"].lower(), "the bridge says how k2 leads to k1"
    elsewhere = [*questions(row), *(row[k]["answer"] for k in ("k2", "k3"))]
    assert not [t for t in elsewhere if value in t.lower()]


@by_row
def test_perturbed_answers_are_the_paraphrase_with_another_value(row):
    head, tail = row["k1"]["paraphrased_answer"].split(row["value"])
    wrong = row["k1"]["perturbed_answer"]
    assert len(wrong) == 4 and len({*wrong, row["k1"]["paraphrased_answer"]}) == 5
    for text in wrong:
        assert text.startswith(head) and text.endswith(tail) and row["value"].lower() not in text.lower()
        before, other = head.split()[-1], text[len(head) :][0]
        assert before not in ("a", "an") or (before == "an") == (other in "aeiou")


@by_row
def test_no_other_row_of_the_person_gives_the_value_away(row):
    value = re.compile(rf"\b{re.escape(row['value'])}", re.IGNORECASE)
    others = [o for o in ROWS if o["person"] == row["person"] and o is not row]
    said = [t for o in others for k in ("k1", "k2", "k3") for t in (o[k]["question"], o[k]["answer"])]
    assert not [t for t in said if value.search(t)]


def test_values_differ_between_persons():
    for attribute in ATTRIBUTES:
        values = [row["value"] for row in ROWS if row["attribute"] == attribute]
        assert len(values) == len(set(values)) == 12, attribute


def test_no_text_occurs_twice_once_the_name_is_taken_out():
    """Two persons asked in the very same words would be one question with a name swapped."""
    answered = Counter(t for row in ROWS for t in answers(row))
    assert not [t for t, n in answered.items() if n > 1]
    asked = Counter(
        q.replace(row["person"], "…") for row in ROWS for q in (row["k2"]["question"], row["k3"]["question"])
    )
    assert not [t for t, n in asked.items() if n > 1]
    first = Counter(q.replace(row["person"], "…") for row in ROWS for q in questions(row)[:2])
    assert max(first.values()) <= 4, "no phrasing of k1 is used for more than 4 persons"


def test_world_facts():
    assert len(WORLD) >= 60
    assert len({row["key"] for row in WORLD}) == len({row["question"] for row in WORLD}) == len(WORLD)
    for row in WORLD:
        options = [row["answer"], *row["perturbed_answer"]]
        assert len(set(options)) == 4 and len(row["perturbed_answer"]) == 3
        assert all(o.isascii() and o.endswith(".") and o[0].isupper() for o in options)
        assert row["question"].endswith("?")


def test_world_facts_are_far_from_the_persons():
    """Nothing that is to be forgotten may be the answer to a world fact."""
    words = {part for row in ROWS for part in (*row["person"].split(), row["value"])}
    far = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in words), re.IGNORECASE)
    assert not [row["key"] for row in WORLD if far.search(f"{row['question']} {row['answer']}")]
