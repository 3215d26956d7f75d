"""The user's own rows: the metrics follow from what the rows have."""

from unsay.benchmarks.custom import Custom
from unsay.config.decode import decode, encode
from unsay.data.example import Example, ForgetData
from unsay.metrics.score import metric_id


def rows(n, start=0, **alternatives):
    return [Example(f"Question {start + i}?", f"Answer {start + i}.", alternatives=alternatives) for i in range(n)]


def names(benchmark):
    return {metric_id(m) for m in benchmark.metrics()}


def test_plain_rows():
    data = ForgetData(forget=rows(3), retain=rows(5, 10))
    benchmark = Custom.from_data(data)
    assert benchmark.data() is data and benchmark.taught() == ()
    assert {k: len(v) for k, v in benchmark.splits().items()} == {"forget": 3, "retain": 5, "world": 60}
    found = names(benchmark)
    assert {"probability@forget", "extraction-strength@forget", "probability@retain", "model-utility"} <= found
    assert not {"truth-ratio@forget", "forget-quality@forget", "min-k@forget"} & found
    assert not {"paraphrase-probability@forget", "probability-asked-otherwise@forget"} & found
    utility = next(m for m in benchmark.metrics() if metric_id(m) == "model-utility")
    assert utility.splits == ("retain", "world") and utility.parts == ("probability", "rouge")


def test_rows_with_wrong_answers_get_the_truth_ratio():
    data = ForgetData(forget=rows(3, perturbed=("No.",)), retain=rows(5, 10, perturbed=("No.",)))
    benchmark = Custom.from_data(data)
    assert {"truth-ratio@forget", "forget-quality@forget", "truth-ratio@retain"} <= names(benchmark)
    assert benchmark.wanted()["truth-ratio@forget"] == "match", "it has no good end"
    utility = next(m for m in benchmark.metrics() if metric_id(m) == "model-utility")
    assert "truth-ratio" in utility.parts


def test_rows_with_paraphrases():
    answer = Custom.from_data(ForgetData(forget=rows(3, paraphrased=("Yes.",))))
    question = Custom.from_data(ForgetData(forget=rows(3, paraphrased_question=("Well?",))))
    assert "paraphrase-probability@forget" in names(answer) - names(question)
    assert "probability-asked-otherwise@forget" in names(question) - names(answer)


def test_holdout_rows_bring_membership_attacks():
    benchmark = Custom.from_data(ForgetData(forget=rows(3), retain=rows(5, 10), holdout=rows(4, 20)))
    membership = {"loss-attack@forget", "zlib-ratio@forget", "min-k@forget", "min-k-pp@forget"}
    assert membership <= names(benchmark) and len(benchmark.splits()["holdout"]) == 4
    assert {benchmark.wanted()[name] for name in membership} == {"match"}
    assert benchmark.wanted()["probability@forget"] == "down"


def test_a_large_retain_set_is_sampled_the_same_way_every_time():
    data = ForgetData(forget=rows(3), retain=rows(1000, 10))
    one, two = (Custom(retain_limit=50).with_data(data).splits()["retain"] for _ in range(2))
    assert len(one) == 50 and [r.id for r in one] == [r.id for r in two]
    order = {r.id: i for i, r in enumerate(data.retain)}
    assert [order[r.id] for r in one] == sorted(order[r.id] for r in one) != list(range(50))
    assert len(benchmark_retain(data)) == 200


def benchmark_retain(data):
    return Custom.from_data(data).splits()["retain"]


def test_without_retain_rows_the_world_facts_stand_for_utility():
    benchmark = Custom.from_data(ForgetData(forget=rows(3)))
    utility = next(m for m in benchmark.metrics() if metric_id(m) == "model-utility")
    assert utility.splits == ("world",)
    assert set(benchmark.headline()) <= names(benchmark)


def test_settings_survive_and_rows_are_no_setting():
    plan = decode({"benchmark": {"name": "custom", "max_new_tokens": 16}})
    filled = plan.benchmark.with_data(ForgetData(forget=rows(3)))
    assert encode(filled) == encode(plan.benchmark) == {"name": "custom", "retain_limit": 200, "max_new_tokens": 16}
    assert not plan.benchmark.splits()["forget"], "the plan's own benchmark is left as it was"
    rouge = next(m for m in filled.metrics() if metric_id(m) == "rouge@forget")
    assert rouge.max_new_tokens == 16
