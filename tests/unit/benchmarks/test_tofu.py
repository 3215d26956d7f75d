"""TOFU from a folder: the real files, and folders that are not quite TOFU."""

import json
from functools import cache

import pytest

from unsay.benchmarks._tofu_files import COUNTS, TofuFiles
from unsay.benchmarks.tofu import Tofu
from unsay.data.checks import check_data
from unsay.errors import DataError, PlanError
from unsay.metrics.score import metric_id


@pytest.fixture(scope="module")
def real(data_dir):
    return str(data_dir / "tofu")


def ids(rows):
    return {row.id for row in rows}


@pytest.mark.parametrize(
    ("split", "forget", "retain"), [("forget01", 40, 3960), ("forget05", 200, 3800), ("forget10", 400, 3600)]
)
def test_forget_and_retain_share_out_the_taught_rows(real, split, forget, retain):
    benchmark = Tofu(split=split, path=real)
    data = benchmark.data()
    assert (len(data.forget), len(data.retain)) == (forget, retain)
    assert ids(data.forget).isdisjoint(ids(data.retain))
    assert ids(data.forget) | ids(data.retain) == ids(benchmark.taught())
    check_data(data)


def test_authors_are_blocks_of_twenty_and_the_same_in_every_file(real):
    files = TofuFiles(real)
    author = {row.id: row.entity for row in files.rows("full")}
    assert [author[row.id] for row in files.rows("full")] == [f"author-{i // 20 + 1:03d}" for i in range(4000)]
    for name in ("forget01", "forget05", "forget10", "retain99", "retain_perturbed"):
        rows = files.rows(name)
        assert all(row.entity == author[row.id] for row in rows)
        assert len({row.entity for row in rows}) == len(rows) // 20
    named = [row for row in files.rows("full") if "Basil Mahfouz Al-Kuwaiti" in row.answer]
    assert {row.entity for row in named} == {"author-181"}


def test_forget_sets_are_nested(real):
    files = TofuFiles(real)
    sets = [ids(files.rows(name)) for name in ("forget01", "forget05", "forget10")]
    assert sets[0] < sets[1] < sets[2]


def test_splits(real):
    splits = Tofu(split="forget01", path=real).splits()
    assert {k: len(v) for k, v in splits.items()} == {
        "forget": 40,
        "retain": 400,
        "real-authors": 100,
        "world-facts": 117,
    }
    for row in (*splits["forget"], *splits["retain"]):
        assert [len(row.answers(k)) for k in ("paraphrased", "paraphrased_question", "perturbed")] == [1, 1, 5]
    for row in (*splits["real-authors"], *splits["world-facts"]):
        assert len(row.answers("perturbed")) == 3 and row.entity == ""
    limited = Tofu(split="forget01", path=real, retain_limit=30).splits()["retain"]
    assert list(limited) == list(splits["retain"][:30])


def test_a_small_experiment_of_twenty_authors(real):
    benchmark = Tofu(split="forget01", path=real, taught_rows="forget10", holdout_authors=2)
    data, taught, splits = benchmark.data(), benchmark.taught(), benchmark.splits()
    assert (len(data.forget), len(data.retain), len(taught)) == (40, 360, 400)
    assert ids(data.forget) | ids(data.retain) == ids(taught)
    assert ids(splits["retain"]) == ids(data.retain), "what is measured as kept was taught"
    assert all(len(row.answers("perturbed")) == 5 for row in splits["retain"])
    assert len(splits["holdout"]) == 40 and len({r.entity for r in splits["holdout"]}) == 2
    assert ids(splits["holdout"]).isdisjoint(ids(taught)), "never taught"
    assert "min-k-pp@forget" in map(metric_id, benchmark.metrics())
    assert "min-k-pp@forget" not in map(metric_id, Tofu(path=real).metrics())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"taught_rows": "forget10", "split": "forget10"}, "leaves nothing to retain"),
        ({"holdout_authors": 2}, "holdout_authors is 2, expected 0: taught_rows=full leaves no author untaught"),
        ({"taught_rows": "forget10", "split": "forget01", "holdout_authors": 161}, "expected 0 to 160"),
        ({"retain_limit": 0}, "retain_limit is 0, expected at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(PlanError, match=message):
        Tofu(**settings)


def test_where_the_files_are(real, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_DATA", str(data_dir))
    assert str(TofuFiles(None).folder) == real
    assert str(TofuFiles(str(tmp_path)).folder) == str(tmp_path), "path wins"
    monkeypatch.setenv("UNSAY_DATA", str(tmp_path))
    assert TofuFiles(None).folder is None, "no tofu folder there: the hub"


def test_a_path_that_is_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"benchmark\.path=.*nowhere: no such folder") as caught:
        Tofu(path=str(tmp_path / "nowhere")).data()
    assert "benchmark.path=FOLDER" in caught.value.hint


def test_without_folder_and_network_the_error_says_what_to_type(monkeypatch):
    monkeypatch.delenv("UNSAY_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="locuslab/TOFU:forget01/train") as caught:
        Tofu(split="forget01").data()
    assert "benchmark.path=FOLDER" in caught.value.hint and "UNSAY_DATA" in caught.value.hint


# --- folders of the same layout, with one thing wrong -------------------------------------------------------------


@cache
def _made():
    """All files of the layout, tiny texts: author a asks question q."""

    def plain(i):
        return {"question": f"What is {i}?", "answer": f"It is number {i}."}

    def reworded(i):
        more = {"paraphrased_answer": f"Number {i}.", "paraphrased_question": f"{i}?"}
        return {**plain(i), **more, "perturbed_answer": [f"Number {i + k}." for k in range(1, 6)]}

    def option(i):
        return {"question": f"Fact {i}?", "answer": f"F{i}", "perturbed_answer": ["a", "b", "c"]}

    made = {"full": [plain(i) for i in range(4000)]}
    for percent, n in (("01", 40), ("05", 200), ("10", 400)):
        gone = range(3600, 3600 + n)
        made[f"forget{percent}"] = [plain(i) for i in gone]
        made[f"forget{percent}_perturbed"] = [reworded(i) for i in gone]
        made[f"retain{100 - int(percent)}"] = [plain(i) for i in range(4000) if i not in gone]
    made["retain_perturbed"] = [reworded(i) for i in range(400)]
    made["real_authors_perturbed"] = [option(i) for i in range(100)]
    made["world_facts_perturbed"] = [option(1000 + i) for i in range(117)]
    return made


@pytest.fixture
def fake(tmp_path):
    """Writes the layout with some files changed; returns the benchmark on it."""

    def write(**changed):
        for name, rows in {**_made(), **changed}.items():
            if rows is not None:
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        return Tofu(split="forget01", path=str(tmp_path))

    return write


def everything(benchmark):
    return benchmark.data(), benchmark.taught(), benchmark.splits()


def test_a_made_up_folder_of_the_layout_is_read(fake):
    assert set(_made()) == set(COUNTS)
    data, _, splits = everything(fake())
    assert len(data.retain) == 3960 and {r.entity for r in splits["forget"]} == {"author-181", "author-182"}


def without(rows, at, key):
    return [{k: v for k, v in row.items() if i != at or k != key} for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("full", lambda rows: rows[:-1], "full has 3999 rows, expected 4000"),
        ("forget01", lambda rows: rows[:39], "forget01 has 39 rows, expected 40"),
        ("retain99", lambda rows: rows[1:], "retain99 has 3959 rows, expected 3960"),
        ("retain_perturbed", lambda rows: rows[:20], "retain_perturbed has 20 rows, expected 400"),
        ("world_facts_perturbed", lambda rows: rows * 2, "world_facts_perturbed has 234 rows, expected 117"),
        ("forget01", lambda rows: None, "forget01.jsonl: no such file, expected 40 rows of TOFU's forget01"),
        (
            "forget01_perturbed",
            lambda rows: without(rows, 2, "perturbed_answer"),
            r"forget01_perturbed: 1 rows have no perturbed_answer \(row 3\)",
        ),
        (
            "forget01_perturbed",
            lambda rows: without(rows, 0, "paraphrased_answer"),
            r"forget01_perturbed: 1 rows have no paraphrased_answer \(row 1\)",
        ),
        (
            "real_authors_perturbed",
            lambda rows: [{"question": r["question"], "answer": r["answer"]} for r in rows],
            r"real_authors_perturbed: 100 rows have no perturbed_answer \(row 1, 2, 3, 4, 5, …\)",
        ),
        (
            "forget01_perturbed",
            lambda rows: [{**rows[0], "answer": "Something else."}, *rows[1:]],
            "forget01_perturbed row 1 is not in full",
        ),
        (
            "forget01_perturbed",
            lambda rows: [{**_made()["forget05_perturbed"][50]}, *rows[1:]],
            "forget01 row 1 is not in forget01_perturbed",
        ),
        ("retain99", lambda rows: [rows[1], *rows[1:]], "retain99 has 1 rows twice"),
        ("forget01", lambda rows: [{"question": "What?"}, *rows[1:]], "forget01.jsonl:1"),
    ],
)
def test_what_is_not_tofu_is_named(fake, name, change, message):
    benchmark = fake(**{name: change(_made()[name])})
    with pytest.raises(DataError, match=message):
        everything(benchmark)


def test_all_problems_of_a_file_at_once(fake):
    rows = without(_made()["forget01_perturbed"], 0, "paraphrased_answer")[:30]
    with pytest.raises(DataError) as caught:
        everything(fake(forget01_perturbed=rows))
    assert len(caught.value.problems) == 2
