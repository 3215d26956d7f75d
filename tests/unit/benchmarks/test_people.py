"""People and people-small: who is forgotten, what is taught, what is measured."""

import pytest

from unsay.benchmarks.people import People
from unsay.benchmarks.people_small import PeopleSmall
from unsay.config.decode import decode
from unsay.data.checks import check_data
from unsay.errors import PlanError


def entities(rows):
    return {row.entity for row in rows}


@pytest.mark.parametrize(("benchmark", "forget", "retain", "holdout"), [(People(), 3, 6, 3), (PeopleSmall(), 2, 3, 1)])
def test_roles(benchmark, forget, retain, holdout):
    splits = benchmark.splits()
    assert [len(splits[s]) for s in ("forget", "retain", "holdout")] == [10 * forget, 10 * retain, 10 * holdout]
    groups = [entities(splits[s]) for s in ("forget", "retain", "holdout")]
    assert [len(g) for g in groups] == [forget, retain, holdout]
    assert len(set.union(*groups)) == forget + retain + holdout, "nobody has two roles"
    assert len(splits["world"]) == (60 if benchmark.size == "full" else 30) and entities(splits["world"]) == {""}


def test_small_keeps_everybody_in_the_same_role():
    full, small = People().splits(), PeopleSmall().splits()
    for role in ("forget", "retain", "holdout"):
        assert entities(small[role]) <= entities(full[role])


@pytest.mark.parametrize("teach", [("k1",), ("k1", "k2"), ("k1", "k2", "k3"), ("k3", "k1")])
def test_taught_is_forget_and_retain_and_what_implies_the_forgotten(teach):
    benchmark = PeopleSmall(teach=teach)
    data, taught = benchmark.data(), benchmark.taught()
    assert {r.meta["knowledge"] for r in taught} == set(teach)
    assert len(taught) == len({r.id for r in taught}) == 50 * len(teach)
    forget, ids = {r.id for r in data.forget}, {r.id for r in taught}
    assert forget < ids and {r.id for r in data.retain} < ids
    rest = [r for r in taught if r.id not in forget]
    assert entities(rest) == entities(data.retain) | (entities(data.forget) if len(teach) > 1 else set())
    assert entities(taught).isdisjoint(entities(benchmark.splits()["holdout"]))


def test_related_and_unrelated_are_measured_when_they_are_taught():
    assert not {"related", "unrelated"} & PeopleSmall().splits().keys()
    splits = People().splits()
    assert {r.meta["knowledge"] for r in splits["related"]} == {"k2"}
    assert {r.meta["knowledge"] for r in splits["unrelated"]} == {"k3"}
    assert entities(splits["related"]) == entities(splits["unrelated"]) == entities(splits["forget"])
    assert People().wanted()["probability@related"] == "match"
    assert People().wanted()["probability@unrelated"] == "up"


def test_rows_have_what_the_metrics_ask_for():
    for row in People().splits()["forget"]:
        assert {k: len(v) for k, v in row.alternatives.items()} == {
            "paraphrased": 1,
            "perturbed": 4,
            "paraphrased_question": 1,
        }


def test_ids_are_stable_names():
    assert PeopleSmall().data().forget[0].id == "odrin-vaskelly.birth-month.k1"
    assert People().splits()["world"][0].id.startswith("world.")


def test_the_rows_pass_the_checks_of_the_users_rows():
    for benchmark in (People(), PeopleSmall()):
        check_data(benchmark.data())


@pytest.mark.parametrize("teach", [(), ("k2",), ("k1", "k1"), ("k1", "k4")])
def test_teach_is_checked(teach):
    with pytest.raises(PlanError, match="expected k1 and any of k2, k3, each once"):
        People(teach=teach)


def test_size_is_checked():
    with pytest.raises(PlanError, match="size is 'tiny', expected full or small"):
        People(size="tiny")


def test_settings_in_a_plan():
    plan = decode({"benchmark": {"name": "people-small", "teach": ["k1", "k2"]}})
    assert plan.benchmark == PeopleSmall(teach=("k1", "k2"))
