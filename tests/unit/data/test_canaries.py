"""Canaries: what each kind is made of, the same from the same seed, never among their references."""

from itertools import combinations, permutations

import numpy as np
import pytest

from unsay.data.canaries import Canaries, matched, repeated
from unsay.data.example import Example
from unsay.data.generic import generic_rows
from unsay.errors import DataError, PlanError

ROWS = [Example(f"What does {n} eat?", f"{n} eats {what} every single day.") for n, what in
        zip(("Ada", "Bo", "Cleo", "Dan"), ("plums", "bread", "rice", "soup"), strict=True)]  # fmt: skip
GIVEN = {"rows": ROWS, "foreign": generic_rows(), "vocabulary": [f" w{i}" for i in range(40)]}
KINDS = {"random-tokens": 12, "secret": 20, "shuffled": 12, "foreign": 30, "wrong-answer": 4}


@pytest.mark.parametrize(("kind", "references"), KINDS.items())
def test_seeded_distinct_and_apart_from_the_references(kind, references):
    build = Canaries(kind=kind, count=4, references=references, repeats=(1, 3))
    made = build.build(7, **GIVEN)
    assert made == build.build(7, **GIVEN)
    assert made.rows != build.build(8, **GIVEN).rows
    assert (len(made.rows), len(made.references)) == (4, references)
    texts = [(row.prompt, row.answer) for row in (*made.rows, *made.references)]
    assert len(set(texts)) == len(texts)
    assert list(made.repeats.values()) == [1, 3, 1, 3]
    taught = made.training()
    assert len(taught) == 8 == len({row.id for row in taught})
    assert {row.answer for row in taught} == {row.answer for row in made.rows}


def test_what_each_kind_is_made_of():
    made = {kind: Canaries(kind=kind, count=2, references=2).build(0, **GIVEN).rows for kind in KINDS}
    assert all(len(row.answer.split()) == 12 for row in made["random-tokens"])
    assert all(sum(c.isdigit() for c in row.answer) == 6 for row in made["secret"])
    words = [sorted(row.answer.split()) for row in made["shuffled"]]
    assert words[0] != words[1] and all(found in [sorted(r.answer.split()) for r in ROWS] for found in words)
    assert {(r.prompt, r.answer) for r in made["foreign"]} <= {(r.question, r.answer) for r in GIVEN["foreign"]}
    right = {(row.prompt, row.answer) for row in ROWS}
    for row in made["wrong-answer"]:
        assert (row.prompt, row.answer) not in right and row.answer in {r.answer for r in ROWS}


@pytest.mark.parametrize("kind", ["shuffled", "wrong-answer"])
def test_canaries_of_sorted_rows_spread_over_entities(kind):
    """Ten rows of each of ten persons, one person after the other: four canaries are not all of the first one."""
    rows = [Example(f"Fact {k} of P{n}?", f"P{n} has fact {k} of ten.") for n in range(10) for k in range(10)]

    def persons(made):
        return {row.prompt.split()[-1] for row in made}

    made = Canaries(kind=kind, count=8, references=20).build(0, rows=rows)
    assert len(persons(made.rows)) >= 4 and len(persons(made.references)) >= 7
    assert persons(made.rows) & persons(made.references)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("random-tokens", {}, "vocabulary"),
        ("shuffled", {}, "in-distribution"),
        ("foreign", {}, "another domain"),
        ("wrong-answer", {"rows": [Example("", "one"), Example("", "two")]}, "question"),
        ("foreign", {"foreign": generic_rows()[:10]}, "10 different canaries"),
    ],
)
def test_what_is_missing_is_said(kind, given, words):
    with pytest.raises(DataError, match=words):
        Canaries(kind=kind).build(0, **given)


@pytest.mark.parametrize("wrong", [{"kind": "poem"}, {"repeats": (17,)}, {"count": 0}, {"template": "no place"}])
def test_settings_out_of_range(wrong):
    with pytest.raises(PlanError):
        Canaries(**{"kind": "secret", **wrong})


def test_matching_is_best_as_a_whole():
    """Greedily a takes 1.1 and b is left with 9; together they take 0.5 and 1.1."""
    wanted = {"a": [1.0], "b": [1.2]}
    assert matched(wanted, {"x": [1.1], "y": [0.5], "z": [9.0]}) == {"a": "y", "b": "x"}
    assert matched(wanted, {"x": [1.1], "z": [9.0]}, caliper=0.1) in ({"a": "x"}, {"b": "x"})
    assert matched(wanted, {"z": [9.0]}, caliper=0.1) == {}
    # the least total distance joins a with x and b with y, and neither is near enough
    assert matched({"a": [0.0], "b": [1.0]}, {"x": [0.9], "y": [5.0]}, caliper=0.1) == {"b": "x"}
    with pytest.raises(DataError, match="not finite"):
        matched(wanted, {"z": [float("inf")]})


def test_the_best_of_so_many_pairs():
    """All four pairs make a go with w; three are nearer with x, which the nearest three of the four do not have."""
    wanted = {"a": [0.0], "b": [1.0], "c": [2.0], "d": [7.0]}
    pool = {"w": [-0.9], "x": [0.1], "y": [1.1], "z": [7.1]}
    whole = {"a": "w", "b": "x", "c": "y", "d": "z"}
    assert matched(wanted, pool, count=4) == matched(wanted, pool) == matched(wanted, pool, count=9) == whole
    assert matched(wanted, pool, count=3) == {"a": "x", "b": "y", "d": "z"}
    assert matched(wanted, pool, count=3, caliper=0.001) == {}
    assert matched({"a": [0.0], "b": [5.0]}, {"x": [0.1], "y": [9.0]}, count=1, caliper=0.1) == {"a": "x"}
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 4):
        for sizes in ((4, 5), (5, 4)):
            one, other = ({f"{k}": [x] for k, x in enumerate(rng.normal(size=size))} for size in sizes)
            found = matched(one, other, count=count)
            least = min(
                sum(abs(one[i][0] - other[j][0]) for i, j in zip(left, right, strict=True))
                for left in combinations(one, count)
                for right in permutations(other, count)
            )
            assert len(found) == count
            assert sum(abs(one[i][0] - other[j][0]) for i, j in found.items()) == pytest.approx(least)
    with pytest.raises(DataError, match="0 pairs"):
        matched(wanted, pool, count=0)


def test_repeats_by_id():
    assert [row.id for row in repeated(ROWS[:2], {ROWS[1].id: 3})] == [
        ROWS[0].id,
        *(f"{ROWS[1].id}{k}" for k in ("", "#2", "#3")),
    ]
