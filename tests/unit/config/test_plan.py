"""Documents to plans and back; every mistake names its path and what to type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsay.config import overrides, yaml12
from unsay.config.decode import decode, differences, encode, read_plan
from unsay.errors import PlanError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(min_size=1), scalars | st.lists(scalars), max_size=5))
def test_dump_reads_back_equal(document):
    assert yaml12.load(yaml12.dump(document)) == document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("no", "no"),
        ("010", 10),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("~", None),
        ("1:30", "1:30"),
        (".5", 0.5),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    loaded = yaml12.load(text)
    assert loaded == value and type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "plan:2: key 'a' is given twice"),
        ("a: [1", "plan:1"),
        ("1: 2", "key 1 is not text"),
        ("a: !!python/object:os.x {}", "could not determine"),
    ],
)
def test_bad_yaml_names_the_line(text, message):
    with pytest.raises(PlanError, match=message.replace("[", r"\[")):
        yaml12.load(text)


def test_short_forms():
    plan, sources = read_plan(
        None,
        [
            "model=some/where",
            "forget=f.jsonl",
            "retain=r.jsonl",
            "method=npo",
            "method.beta=0.2",
            "train.lr=1e-5",
            "out=runs/mine",
        ],
    )
    assert (plan.model.path, plan.data.forget, plan.data.retain, plan.out) == (
        "some/where",
        "f.jsonl",
        "r.jsonl",
        "runs/mine",
    )
    assert type(plan.method).__name__ == "NPO" and plan.method.beta == 0.2 and plan.train.lr == 1e-5
    assert sources["method.beta"] == "command line" and "train.epochs" not in sources


def test_plan_round_trips():
    plan, _ = read_plan(
        None, ["method=extrapolate", "method.base=grad-diff", "attacks=relearn", "model.adapter.rank=4", "seed=3"]
    )
    assert type(plan.method.base).__name__ == "GradDiff" and plan.model.adapter.rank == 4
    assert decode(yaml12.load(yaml12.dump(encode(plan)))) == plan


def test_another_method_drops_the_old_ones_settings(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("method: {name: npo, beta: 0.3}\ntrain: {lr: 2e-5}\n")
    same, _ = read_plan(str(file), ["method=npo"])
    other, _ = read_plan(str(file), ["method=grad-ascent"])
    assert same.method.beta == 0.3 and type(other.method).__name__ == "GradAscent" and other.train.lr == 2e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.epoch=3"], "train.epoch: no such setting; did you mean train.epochs"),
        (["method=nop"], "no method named 'nop'; did you mean 'npo'"),
        (["method.gamma=1"], "method.gamma: no such setting"),
        (["train.lr=fast"], "train.lr: input should be a valid number"),
        (["train.lr=-1"], "train.lr: should be greater than 0"),
        (["train.batch=0"], "train.batch: should be at least 1"),
        (["train.precision=fp8"], "train.precision: input should be"),
        (["train.lr"], "is not key=value"),
        (["train.lr=1", "train.lr=2"], "given twice"),
        (["seed.x=1"], "seed: input should be a valid integer"),
        (["=1"], "is not key=value"),
        (["attacks=nothing"], "no attack named"),
        (["method=./missing.py:Mine"], "file not found"),
    ],
)
def test_mistakes_name_the_path(words, message):
    with pytest.raises(PlanError, match=message.replace("(", r"\(")):
        read_plan(None, words)


def test_unknown_preset_suggests():
    with pytest.raises(PlanError, match="did you mean 'demo'"):
        read_plan("dmo", [])


def test_missing_plan_file(tmp_path):
    with pytest.raises(PlanError, match="plan file not found"):
        read_plan(str(tmp_path / "x.yaml"), [])


def test_local_file_is_a_method(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True, kw_only=True)\nclass Mine:\n"
        "    beta: float = 0.5\n"
        "    def unlearn(self, lm, data, run):\n        return lm\n"
    )
    plan, _ = read_plan(None, [f"method={file}:Mine", "method.beta=0.25"])
    assert plan.method.beta == 0.25
    assert decode(encode(plan)).method.beta == 0.25
    file.write_text("X = 1\n")
    with pytest.raises(PlanError, match="has no class 'Mine'"):
        read_plan(None, [f"method={file}:Mine"])


def test_differences_name_keys():
    a, _ = read_plan(None, [])
    b, _ = read_plan(None, ["method.beta=0.7", "seed=2"])
    assert differences(encode(a), encode(b)) == ["method.beta", "seed"]


def test_merge_is_deep():
    assert overrides.merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
