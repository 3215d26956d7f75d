"""Good files in every format and shape, sources, and what a plan's data come to."""

import csv
import datetime
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsay.config.plan import DataSpec
from unsay.data.checks import check_data, normal
from unsay.data.example import Example, Message, example_id
from unsay.data.generic import generic_rows
from unsay.data.read import read_forget_data, read_rows
from unsay.data.read_hub import is_hub_id, table_rows
from unsay.data.read_shape import to_example, to_row
from unsay.errors import DataError

ROWS = [
    {"question": "When was she born?", "answer": "On 1956-09-08.", "birthday": "1956-09-08", "entity": "Ana"},
    {"question": 'A "quoted", one?', "answer": "Two\nlines, é, 😀", "id": "x", "paraphrased_answer": "Yes"},
]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict.fromkeys({k for r in rows for k in r}) | r for r in rows]), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as handle:
            keys = list(dict.fromkeys(k for r in rows for k in r))
            out = csv.DictWriter(handle, keys, delimiter="\t" if path.suffix == ".tsv" else ",")
            out.writeheader()
            out.writerows(rows)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_rows(ending, tmp_path):
    one, two = read_rows(write(tmp_path / f"f{ending}", ROWS))
    assert (one.prompt, one.answer, one.entity) == ("When was she born?", "On 1956-09-08.", "Ana")
    assert one.meta["birthday"] == "1956-09-08"
    assert one.id == example_id(one.prompt, one.answer)
    assert (two.prompt, two.answer, two.id) == ('A "quoted", one?', "Two\nlines, é, 😀", "x")
    assert two.alternatives == {"paraphrased": ("Yes",)}
    where = {".jsonl": ("1", "2"), ".json": ("2", "8"), ".csv": ("2", "3"), ".tsv": ("2", "3")}
    assert [r.meta["source"] for r in (one, two)] == [f"f{ending}:{n}" for n in where.get(ending, ("row 1", "row 2"))]


def test_byte_order_mark_blank_lines_and_windows_ends(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b\xe2\x80\xa8c"}\r\n')
    assert [(r.prompt, r.answer, r.meta["source"]) for r in read_rows(path)] == [
        ("", "a", "f.jsonl:1"),
        ("", "b\u2028c", "f.jsonl:3"),
    ]
    (tmp_path / "f.csv").write_bytes(b"\xef\xbb\xbfquestion,answer\r\na,b\r\n")
    assert read_rows(tmp_path / "f.csv")[0].prompt == "a"


def test_json_under_data(tmp_path):
    (tmp_path / "f.json").write_text('{"v": [1, {"data": []}],\n "data":\n[{"text": "a"},\n\n{"text": "b"}], "n": 2}')
    assert [r.meta["source"] for r in read_rows(tmp_path / "f.json")] == ["f.json:3", "f.json:5"]


def test_many_brackets_are_not_deep(tmp_path):
    row = {"text": "a [", "pairs": [[i, {"n": [i]}] for i in range(40)]}
    assert read_rows(write(tmp_path / "f.jsonl", [row]))[0].meta["pairs"] == row["pairs"]
    assert len(read_rows(write(tmp_path / "f.json", [row, {"text": "b"}]))) == 2


def test_long_cells_are_read_and_the_csv_module_is_left_as_it_was(tmp_path):
    before = csv.field_size_limit()
    long = write(tmp_path / "f.csv", [{"question": "Who?", "answer": "a" * 2 * before}])
    assert len(read_rows(long)[0].answer) == 2 * before
    assert csv.field_size_limit() == before


def test_dates_of_a_table_become_text(tmp_path):
    path = tmp_path / "f.parquet"
    day = datetime.date(1956, 9, 8)
    pq.write_table(pa.table({"question": ["a"], "answer": ["b"], "born": [day], "no": pa.nulls(1, pa.string())}), path)
    meta = read_rows(path)[0].meta
    assert meta["born"] == "1956-09-08"
    assert meta["no"] is None


def conversation(*turns):
    return [{"role": r, "content": c} for r, c in turns]


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"prompt": "a ", "completion": " b"}, "a ", " b"),
        ({"text": "t"}, "", "t"),
        ({"messages": conversation(("user", "q"), ("assistant", "a"))}, "q", "a"),
        (
            {
                "messages": conversation(
                    ("system", "s"), ("user", "q"), ("assistant", "x"), ("user", "r"), ("assistant", "a")
                )
            },
            (Message("system", "s"), Message("user", "q"), Message("assistant", "x"), Message("user", "r")),
            "a",
        ),
        ({"prompt": conversation(("user", "q")), "completion": conversation(("assistant", "a"))}, "q", "a"),
        ({"question": "q", "answer": "a", "text": None, "messages": None}, "q", "a"),
        ({"messages": conversation(("user", "q"), ("assistant", "a")), "prompt": "q"}, "q", "a"),
    ],
)
def test_shapes(row, prompt, answer):
    example = to_example(row, "f:1")
    assert (example.prompt, example.answer) == (prompt, answer)


def test_optional_fields_land_where_they_belong():
    row = {
        "question": "q",
        "answer": "a",
        "subject": "Ana",
        "id": 7,
        "paraphrased_question": "p?",
        "paraphrased_answer": None,
        "perturbed_answer": ["x", "y"],
        "alternatives": {"safe": "s"},
        "nested": {"n": [1]},
        "source": "mine",
    }
    example = to_example(row, "f:1")
    assert example.id == "7"
    assert example.entity == "Ana"
    assert dict(example.alternatives) == {"paraphrased_question": ("p?",), "perturbed": ("x", "y"), "safe": ("s",)}
    assert example.meta == {"entity": "Ana", "nested": {"n": [1]}, "source": "mine"}


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(str.strip)
prompts = st.one_of(
    st.just(""),
    text,
    st.tuples(st.builds(Message, st.just("system"), text), st.builds(Message, st.just("user"), text)),
)
names = st.sampled_from(["paraphrased", "perturbed", "paraphrased_question", "refusal", "other"])
rows = st.builds(
    Example,
    prompts,
    text,
    st.just(""),
    st.dictionaries(names, st.lists(text, min_size=1, max_size=3).map(tuple), max_size=3),
    st.dictionaries(st.sampled_from(["entity", "birthday", "n"]), text, max_size=3).map(
        lambda d: {**d, "source": "f:1"}
    ),
)


@given(st.lists(rows, min_size=1, max_size=4, unique_by=lambda r: r.id))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_rows_survive_writing_and_reading(tmp_path_factory, ending, examples):
    path = write(tmp_path_factory.mktemp("round") / f"f{ending}", [to_row(r) for r in examples])
    assert read_rows(path) == examples


def test_folder(tmp_path):
    write(tmp_path / "only.jsonl", ROWS)
    (tmp_path / "README.md").write_text("about")
    assert len(read_rows(tmp_path)) == 2
    write(tmp_path / "retain.csv", ROWS[:1])
    with pytest.raises(DataError, match=r"2 data files \(only.jsonl, retain.csv\), expected one, or one called forget"):
        read_rows(tmp_path)
    assert len(read_rows(tmp_path, name="retain")) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has 0 data files \(none\)"):
        read_rows(tmp_path / "empty")


def test_missing_file_suggests_a_near_one(tmp_path):
    write(tmp_path / "forget.jsonl", ROWS)
    with pytest.raises(DataError, match="no such file, folder or data set id") as error:
        read_rows(tmp_path / "forgot.jsonl")
    assert error.value.hint == f"forget={tmp_path / 'forget.jsonl'}"


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "f.jsonl")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_rows(tmp_path / "f.jsonl")


def test_limit_reads_no_further(tmp_path):
    (tmp_path / "f.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nbroken')
    assert [r.answer for r in read_rows(tmp_path / "f.jsonl", limit=2)] == ["a", "b"]
    with pytest.raises(DataError, match="limit 0"):
        read_rows(tmp_path / "f.jsonl", limit=0)


@pytest.mark.parametrize(
    "name", ["a/b", "a/b:train", "a/b:c/train", "a/b@1f2e:c/train", "locuslab/TOFU:forget01/train"]
)
def test_hub_ids(name):
    assert is_hub_id(name)


@pytest.mark.parametrize("name", ["a", "a/b/c", "../a", "/a/b", "a/b:", "a/b:c/d/e", "a/b@"])
def test_no_hub_ids(name):
    assert not is_hub_id(name)


def test_hub_without_network_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="cannot be loaded: the hub cannot be reached") as error:
        read_rows("no-such-org/no-such-set:train")
    assert "HF_HUB_OFFLINE" in error.value.hint


def test_what_datasets_loads_is_read_by_split(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.jsonl", ROWS)
    write(folder / "test.jsonl", ROWS[:1])
    got = list(table_rows(str(folder), None, None, None, "org/set"))
    assert [(r.where, r.value["question"]) for r in got] == [
        ("org/set:row 1", "When was she born?"),
        ("org/set:row 2", 'A "quoted", one?'),
    ]
    assert len(list(table_rows(str(folder), None, "test", None, "org/set"))) == 1
    with pytest.raises(DataError, match=r"has no split 'dev', expected one of (train, test|test, train)"):
        list(table_rows(str(folder), None, "dev", None, "org/set"))
    (folder / "train.jsonl").rename(folder / "validation.jsonl")
    with pytest.raises(DataError, match="has no split 'train'"):  # two splits, and none of them the usual one
        list(table_rows(str(folder), None, None, None, "org/set"))


def test_a_plan_without_retain_gets_the_generic_rows_and_a_note(tmp_path):
    first = generic_rows()[0]
    path = write(tmp_path / "forget.jsonl", [*ROWS, {"question": first.question.upper(), "answer": first.answer}])
    data, notes = read_forget_data(DataSpec(forget=str(path)))
    assert len(data.forget) == 3
    assert len(data.retain) == 199  # the one that is to be forgotten does not stand in
    assert data.holdout == []
    assert notes == [
        "no retain= given: 199 bundled generic rows stand in; they do not protect what is close to the forget rows"
    ]
    check_data(data)


def test_a_plan_s_files_are_checked_together(tmp_path):
    for name in ("forget", "retain", "holdout"):
        (tmp_path / f"{name}.jsonl").write_text("broken")
    spec = DataSpec(**{n: str(tmp_path / f"{n}.jsonl") for n in ("forget", "retain", "holdout")})
    with pytest.raises(DataError) as error:
        read_forget_data(spec)
    assert [p.split(":")[0] for p in error.value.problems if "not valid" in p] == [
        "forget.jsonl",
        "retain.jsonl",
        "holdout.jsonl",
    ]
    with pytest.raises(DataError, match="no rows to forget were given"):
        read_forget_data(DataSpec())


def test_ids_are_made_distinct_across_lists(tmp_path):
    forget = write(tmp_path / "forget.jsonl", [{"text": "a", "id": 1}, {"text": "b", "id": 2}])
    retain = write(tmp_path / "retain.jsonl", [{"text": "c", "id": 1}, {"text": "d", "id": 3}])
    data, notes = read_forget_data(DataSpec(forget=str(forget), retain=str(retain)))
    assert [r.id for r in data.retain] == ["retain:1", "3"]
    assert notes == ["1 ids of retain occur in another list too: they are read as retain:<id>"]
    check_data(data)


def test_skipped_rows_are_noted(tmp_path):
    (tmp_path / "forget.jsonl").write_text('{"text": "a"}\nbroken\n')
    _, notes = read_forget_data(DataSpec(forget=str(tmp_path / "forget.jsonl"), skip_invalid=1))
    assert notes[0].startswith("forget: 1 of 2 malformed rows left out (forget.jsonl:2 — not valid JSON")


def test_generic_rows_are_sound():
    rows = generic_rows()
    assert len(rows) == 200
    assert len({normal(r.question) for r in rows}) == 200
    assert all(r.question and len(r.answer) <= 120 and (r.question + r.answer).isascii() for r in rows)
