"""What comes from a writer is checked, counted, completed, kept, and read again."""

import dataclasses
import json
from dataclasses import dataclass, field

import pytest

from unsay.errors import DataError, Interrupted, PlanError
from unsay.runs.run import Run
from unsay.writers import Writer, obtain
from unsay.writers._obtain import named_files
from unsay.writers.replay import Replay
from unsay.writers.templates import Templates


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Gives the texts it was told to, and notes who asked."""

    texts: tuple[str, ...] = ("It is one.", "It is two.", "It is three.")
    calls: list = field(default_factory=list, compare=False)
    stop_after: int = 99

    def write(self, rows, role, count, run, *, others=()):
        self.calls.append([row.id for row in rows])
        if len(self.calls) > self.stop_after:
            raise Interrupted("stopped")
        return {row.id: self.texts for row in rows}


def lines(run):
    return [json.loads(line) for line in run.path("writings.jsonl").read_text().split("\n") if line]


@pytest.fixture(autouse=True)
def keyed_by_settings_alone(monkeypatch):
    """`calls` is no setting."""
    monkeypatch.setattr(
        "unsay.writers._obtain.dataclasses.asdict",
        lambda w: {f.name: getattr(w, f.name) for f in dataclasses.fields(w) if f.name not in ("calls", "stop_after")},
    )
    monkeypatch.setattr("unsay.writers._obtain.encode", lambda w: {"texts": list(getattr(w, "texts", ()))})


def test_protocol():
    assert isinstance(Scripted(), Writer) and isinstance(Templates(), Writer)


def test_one_line_a_row(rows, run):
    assert obtain(Scripted(), rows[:2], "alternative", 2, run) == [("It is one.", "It is two.")] * 2
    assert [line["id"] for line in lines(run)] == [rows[0].id, rows[1].id]
    assert lines(run)[0] == {
        "id": rows[0].id,
        "role": "alternative",
        "texts": ["It is one.", "It is two."],
        "writer": {"name": "Scripted", "texts": ["It is one.", "It is two.", "It is three."]},
        "counts": {"written": 2, "rejected": {}},
        "key": lines(run)[0]["key"],
    }


def test_the_second_call_reads_the_file(rows, run):
    writer = Scripted()
    first = obtain(writer, rows, "alternative", 2, run, others=rows[:1])
    assert obtain(writer, rows, "alternative", 2, run, others=rows[:1]) == first
    assert len(writer.calls) == 1


@pytest.mark.parametrize("change", ["writer", "rows", "row", "role", "count", "seed", "others"])
def test_whatever_the_texts_depend_on_makes_another_call(rows, run, change):
    writer = Scripted()
    some = rows[:2]
    obtain(writer, some, "alternative", 1, run, others=rows[3:])
    other = Scripted(texts=("Quite another.", "And one more."), calls=writer.calls)
    edited = [dataclasses.replace(some[0], alternatives={"perturbed": ("x",)}), some[1]]
    again = {
        "writer": lambda: obtain(other, some, "alternative", 1, run, others=rows[3:]),
        "rows": lambda: obtain(writer, rows[:3], "alternative", 1, run, others=rows[3:]),
        "row": lambda: obtain(writer, edited, "alternative", 1, run, others=rows[3:]),
        "role": lambda: obtain(writer, some, "refusal", 1, run, others=rows[3:]),
        "count": lambda: obtain(writer, some, "alternative", 2, run, others=rows[3:]),
        "seed": lambda: obtain(writer, some, "alternative", 1, _reseeded(run), others=rows[3:]),
        "others": lambda: obtain(writer, some, "alternative", 1, run, others=rows[4:]),
    }
    again[change]()
    assert len(writer.calls) == 2
    obtain(writer, some, "alternative", 1, run, others=rows[3:])
    assert len(writer.calls) == 2, "the first texts are still there"


def _reseeded(run):
    return Run(run.dir, run.plan, 1, run.train, run._shared)


def test_a_stopped_call_keeps_what_is_finished(rows, run, monkeypatch):
    monkeypatch.setattr("unsay.writers._obtain._CHUNK", 3)
    writer = Scripted(stop_after=1)
    with pytest.raises(Interrupted):
        obtain(writer, rows[:8], "alternative", 1, run)
    resumed = Scripted()
    obtain(resumed, rows[:8], "alternative", 1, run)
    assert resumed.calls == [[r.id for r in rows[3:6]], [r.id for r in rows[6:8]]]
    with Run.temporary() as whole:
        obtain(Scripted(), rows[:8], "alternative", 1, whole)
        assert lines(whole) == lines(run)


def test_rejected_texts_are_counted_and_replaced(rows, run):
    row = rows[0]
    writer = Scripted(texts=("", row.answer, "It is one.", "it is ONE", row.question, f"Yes: {row.answer}"))
    texts = obtain(writer, [row], "alternative", 3, run, others=rows[4:])[0]
    assert texts[0] == "It is one." and len(set(texts)) == 3
    counts = lines(run)[0]["counts"]
    assert (counts["written"], counts["templates"]) == (1, 2)
    assert counts["rejected"] == {
        "empty": 1,
        "the answer": 1,
        "duplicate": 1,
        "the question": 1,
        "holds the answer": 1,
    }
    assert "1 of 1 rows have alternative texts of the template writer in place of Scripted's" in run.manifest.notes[0]


def test_rows_that_nobody_can_write_for_are_named(rows, run):
    with pytest.raises(DataError, match=rf"row {rows[0].id}: 1 of 9"):
        obtain(Scripted(texts=("It is one.",)), rows[:1], "alternative", 9, run)
    assert not run.path("writings.jsonl").exists()


def test_a_damaged_file_is_written_anew(rows, run):
    writer = Scripted()
    first = obtain(writer, rows, "alternative", 1, run)
    path = run.path("writings.jsonl")
    path.write_bytes(path.read_bytes()[:-20] + b"\xff")
    assert obtain(writer, rows, "alternative", 1, run) == first
    assert len(writer.calls) == 2


def test_replay_gives_the_same_texts_to_another_run(rows, run):
    odd = dataclasses.replace(rows[0], alternatives={"perturbed": ("One\u2028two\nthree “four” 五",)})
    some = [odd, *rows[1:]]
    first = obtain(Templates(), some, "alternative", 3, run, others=rows)
    refused = obtain(Templates(), some, "refusal", 1, run)
    for path in (run.dir, run.path("writings.jsonl")):
        with Run.temporary(seed=9) as other:
            writer = Replay(path=str(path))
            assert obtain(writer, some, "alternative", 3, other) == first
            assert obtain(writer, some, "refusal", 1, other) == refused
            assert {line["counts"].get("templates") for line in lines(other)} == {None}


def test_replay_fills_gaps_and_says_so(rows, run):
    obtain(Templates(), rows[:4], "alternative", 2, run, others=rows)
    with Run.temporary() as other:
        obtain(Replay(path=str(run.dir)), rows[:6], "alternative", 2, other, others=rows)
        assert other.manifest.notes[0].startswith("2 of 6 rows")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "not UTF-8"),
        (b"nonsense\n", "w.jsonl:1: not JSON"),
        (b'\n{"id": 1, "role": "refusal", "texts": ["x"]}', "w.jsonl:2: expected id and role"),
        (b'{"id": "a", "role": "refusal", "texts": "x"}', "texts as a list"),
        (b'{"id": "a", "role": "refusal", "texts": ["x"]}', "no alternative texts for any of the"),
        (b"", "no alternative texts for any of the"),
    ],
)
def test_replay_of_something_else(rows, run, tmp_path, content, message):
    path = tmp_path / "w.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        obtain(Replay(path=str(path)), rows, "alternative", 1, run)


@pytest.mark.parametrize("given", ["writings.jsonl", "", "~/writings.jsonl"])
def test_replay_reads_a_changed_file_again(rows, run, tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = given if given.startswith("~") else str(tmp_path / given)
    for city in ("Bern", "Perth"):
        line = {"id": rows[0].id, "role": "alternative", "texts": [f"In {city}."]}
        (tmp_path / "writings.jsonl").write_text(json.dumps(line))
        assert obtain(Replay(path=path), rows[:1], "alternative", 1, run) == [(f"In {city}.",)]


def test_files_that_settings_name(tmp_path):
    (tmp_path / "rows.jsonl").write_text("a")
    (tmp_path / "writings.jsonl").write_text("b")
    settings = {
        "name": "relearn",
        "augment": {"generic": str(tmp_path / "rows.jsonl"), "avoid": None, "writer": {"path": str(tmp_path)}},
        "list": ["none", str(tmp_path / "rows.jsonl")],
    }
    found = named_files(settings)
    assert found.keys() == {"augment.generic", "augment.writer.path", "list.1"}
    (tmp_path / "writings.jsonl").write_text("c")
    again = named_files(settings)
    assert {key for key in found if found[key] != again[key]} == {"augment.writer.path"}
    assert named_files({"path": "", "n": 3, "where": str(tmp_path / "nowhere")}) == {}


def test_replay_needs_a_path():
    with pytest.raises(PlanError, match="path: is empty"):
        Replay(path="")
