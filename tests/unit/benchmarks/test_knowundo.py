"""KnowUnDo: the real files, and folders that are not quite KnowUnDo."""

import json
from collections import Counter

import pytest

from unsay.benchmarks import knowundo
from unsay.benchmarks.knowundo import Knowundo
from unsay.data.checks import check_data
from unsay.data.strict import Raw
from unsay.errors import DataError, PlanError
from unsay.metrics.score import metric_id
from unsay.pipeline import Work
from unsay.testing import tiny_lm


@pytest.fixture(scope="module")
def real(data_dir):
    if not (data_dir / "knowundo" / "privacy").is_dir():
        pytest.skip(f"{data_dir} has no knowundo/privacy (github.com/zjunlp/unlearn, dataset/KnowUnDo)")
    return Knowundo(path=str(data_dir / "knowundo"))


def test_trained_and_measured_questions(real, data_dir):
    data, splits = real.data(), real.splits()
    assert (len(data.forget), len(data.retain)) == (400, 441)
    assert {k: len(v) for k, v in splits.items()} == {"forget": 110, "retain": 108, "forget-train": 400, "world": 60}
    check_data(data)
    trained = {row.prompt for row in (*data.forget, *data.retain)}
    assert not trained & {row.prompt for row in (*splits["forget"], *splits["retain"])}, "val questions are others"
    val = json.loads((data_dir / "knowundo" / "privacy" / "unlearn_val.json").read_text("utf-8"))
    assert [(r.prompt, r.answer) for r in splits["forget"]] == [(r["text"], r["labels"]) for r in val]


def test_all_rows_are_taught_with_the_training_wording(real, data_dir):
    taught = {(r.prompt, r.answer) for r in real.taught()}
    full = json.loads((data_dir / "knowundo" / "privacy" / "full.json").read_text("utf-8"))
    assert len(taught) == 1059
    assert {q for q, _ in taught} == {r["text"] for r in full}
    assert len(taught - {(r["text"], r["labels"]) for r in full}) == 1, "one answer has a typo in unlearn_train alone"
    assert {r.id for r in real.data().forget} <= {r.id for r in real.taught()}


def test_every_row_names_its_author(real):
    counts = Counter(row.entity for row in real.taught())
    assert len(counts) == 55 and "" not in counts
    assert min(counts.values()) >= 15 and max(counts.values()) == 20
    row = next(r for r in real.taught() if r.prompt == "Who are Isabella Marquez's parents?")
    assert row.entity == "Isabella Marquez"
    irish = next(r for r in real.taught() if "Fiona O'Reilly" in r.prompt)
    assert irish.entity == "Fiona O'Reilly"
    assert {r.entity for r in real.splits()["forget"]} <= {r.entity for r in real.data().forget}


def test_metrics_and_directions(real):
    names = set(map(metric_id, real.metrics()))
    assert {"exact-memorization@forget", "rouge@retain", "probability@forget-train"} <= names
    assert "rouge@forget-train" not in names, "unlearned wordings cost no generation"
    wanted = real.wanted()
    assert wanted["probability@forget-train"] == wanted["rouge@forget"] == "match" and wanted["rouge@retain"] == "up"
    assert wanted["kfr@forget"] == "match", "forgetting everything is no aim"
    assert wanted["krr@retain"] == wanted["linguistic-score@forget"] == "up"


def test_the_folder_may_be_the_one_with_the_files(made):
    folder = made("knowundo")
    splits = Knowundo(path=str(folder)).splits()
    assert len(splits["forget"]) == 110
    assert len({row.entity for row in splits["forget"]} - {""}) == 11


def test_unsay_data_is_found(made, tmp_path, monkeypatch):
    (tmp_path / "knowundo").symlink_to(made("knowundo"))
    monkeypatch.setenv("UNSAY_DATA", str(tmp_path))
    assert len(Knowundo().data().forget) == 400


@pytest.mark.parametrize("shape", ["rows", "columns"])
def test_hub_records_hold_train_and_val(made, monkeypatch, shape):
    tables = {s: json.loads((made("knowundo") / f"{s}.json").read_text("utf-8")) for s in knowundo.COUNTS}

    def records(source):
        name, _, which = source.rpartition("/")
        assert name == "zjunlp/KnowUnDo:privacy" and which in ("unlearn", "retention")
        value = {part: tables[f"{which}_{part}"] for part in ("train", "val")}
        if shape == "columns":
            value = {p: {k: [r[k] for r in rows] for k in ("text", "labels")} for p, rows in value.items()}
        yield Raw(f"{source}:row 1", value)

    monkeypatch.delenv("UNSAY_DATA", raising=False)
    monkeypatch.setattr(knowundo, "hub_rows", records)
    knowundo._read.cache_clear()
    try:
        from_hub = Knowundo().splits()["forget"]
    finally:
        knowundo._read.cache_clear()
    assert [r.id for r in from_hub] == [r.id for r in Knowundo(path=str(made("knowundo"))).splits()["forget"]]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("unlearn_val", lambda rows: rows[:-1], "unlearn_val has 109 rows, expected 110"),
        ("unlearn_val", lambda rows: None, "unlearn_val: no such file"),
        ("retention_val", lambda rows: [{"text": "What?"}, *rows[1:]], "no text under 'labels'"),
        ("retention_val", lambda rows: [{"question": "q", "answer": "a"}, *rows[1:]], "no text under 'text', 'labels'"),
        ("retention_val", lambda rows: [rows[1], *rows[1:]], "1 questions occur in more than one row"),
    ],
)
def test_what_is_not_knowundo_is_named(made, changed, name, change, message):
    rows = json.loads((made("knowundo") / f"{name}.json").read_text("utf-8"))
    with pytest.raises(DataError, match=message) as caught:
        Knowundo(path=str(changed("knowundo", **{name: change(rows)}))).data()
    assert "benchmark.path=FOLDER" in caught.value.hint and "zjunlp/unlearn" in caught.value.hint


def test_no_folder_and_no_network(monkeypatch):
    monkeypatch.delenv("UNSAY_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="zjunlp/KnowUnDo:privacy/unlearn") as caught:
        Knowundo().data()
    assert "UNSAY_DATA" in caught.value.hint
    with pytest.raises(DataError, match=r"benchmark\.path=nowhere: no such folder"):
        Knowundo(path="nowhere").data()


def test_settings_that_make_no_sense():
    with pytest.raises(PlanError, match="max_new_tokens is 0"):
        Knowundo(max_new_tokens=0)


def test_the_trained_questions_can_be_measured_instead(real):
    def ids(rows):
        return {row.id for row in rows}

    other = Knowundo(path=real.path, questions="train").splits()
    assert {k: len(v) for k, v in other.items()} == {k: len(v) for k, v in real.splits().items()} | {"forget-val": 110}
    data = real.data()
    assert ids(other["forget"]) <= ids(data.forget) and ids(other["retain"]) <= ids(data.retain)
    assert len({row.entity for row in other["forget"]}) > 50, "spread over the authors"


@pytest.mark.parametrize("questions", ["val", "train"])
def test_no_private_question_is_outside_the_forget_splits(real, questions, data_dir):
    """So that a model which is taught nothing of these splits has seen no private row; what is taught is the same."""
    benchmark = Knowundo(path=real.path, questions=questions)
    kept = {row.id for row in Work(tiny_lm(), benchmark, benchmark.data(), []).hidden()}
    left = [row for row in benchmark.taught() if row.id not in kept]
    assert len(left) == 549 and {row.meta["source"] for row in left} == {
        "knowundo/retention_train",
        "knowundo/retention_val",
    }
    assert benchmark.taught() == real.taught()
    measured = {need.split for metric in benchmark.metrics() for need in metric.needs}
    assert "forget-val" not in measured
