"""The authors' published rows as `unsay import relearn` reads them: their numbers, and who gave each of them."""

import json

import numpy as np
import pytest

from unsay.errors import DataError, PlanError, RunError
from unsay.interchange.relearn import import_relearn, scored
from unsay.interchange.relearn_rows import read_relearn
from unsay.measure.judges import Judges
from unsay.metrics.kfr import KFR
from unsay.metrics.linguistic_score import closed_form
from unsay.report.folder import read_run


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def file(data_dir):
    return data_dir / "relearn_release" / "forget.jsonl"


@pytest.fixture(scope="module")
def released(file, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", str(tmp_path_factory.mktemp("home")))
        return scored(read_relearn(file).rows, "forget")


@pytest.fixture
def summary(data_dir):
    return json.loads((data_dir / "relearn_release" / "summary_forget.json").read_text("utf-8"))


def rows_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(("rule", "expected"), [("paper", 90), ("strict", 94), ("code", 96)])
def test_published_rates(released, rule, expected):
    found = released.scores[f"kfr-{rule}-pairs@forget"]
    assert found.value == pytest.approx(expected / 110, abs=1e-12)
    assert found.n == 110 and found.ci[0] < found.value < found.ci[1]
    assert len(found.per_example) == 110
    assert found.note.startswith("entity coverage as stored; NLI as stored")


def test_one_to_one_matching_compares_the_stored_entities(released):
    for rule in ("paper", "strict", "code"):
        found = released.scores["kfr@forget" if rule == "paper" else f"kfr-{rule}@forget"]
        assert found.n == 110 and "entities as stored; entities compared by" in found.note
        assert "by rules" not in found.note
        assert found.value == pytest.approx(found.extra[f"{rule}_rule"])


def test_published_language(released, summary):
    found = released.scores["linguistic-score@forget"]
    assert found.value == pytest.approx(0.1217888, abs=5e-8)
    assert found.value == pytest.approx(summary["Harmonic_AS_F"], rel=1e-9)
    assert "PPL as stored" in found.note
    for name, key in (("perplexity", "PPL_F"), ("brunet", "BI_F"), ("honore", "HS_F"), ("root-ttr", "TTR_F")):
        part = released.scores[f"{name}@forget"]
        assert part.value == pytest.approx(summary[key], rel=1e-9)
        assert part.n == 110 and part.ci[0] < part.value < part.ci[1]


def test_published_wording(released, summary):
    assert released.scores["rouge@forget"].value == pytest.approx(summary["RougeL_recall_F"], abs=1e-12)
    both = released.scores["relearn-harmonic-strict-pairs@forget"]
    assert both.value == pytest.approx(summary["Harmonic_F"], abs=1e-9)
    assert both.extra["arithmetic"] == pytest.approx(summary["Mean_F"], abs=1e-9)
    assert both.ci[0] < both.value < both.ci[1]


def test_what_the_rows_bring_is_what_comes_out_here(released, file):
    """BI, HS, RTTR and ROUGE-L of the predictions, computed, are the stored ones."""
    assert not any("differ" in note for note in released.notes)
    ours = ("bi", "hs", "rttr", "rougeL_recall", "ppl", "ecs_pairs", "nli", "entities_gold", "entities_pred")
    bare = [{k: v for k, v in row.items() if k not in ours[:4]} for row in rows_of(file)]
    again = scored([_row(row) for row in bare], "forget").scores
    for name in ("rouge", "brunet", "honore", "root-ttr", "linguistic-score"):
        same = [
            again[f"{name}@forget"].per_example[i] == pytest.approx(value, abs=1e-6)
            for i, value in released.scores[f"{name}@forget"].per_example.items()
        ]
        assert sum(same) >= 108, name


def _row(row):
    from unsay.data.strict import Raw
    from unsay.interchange.relearn_rows import _row as read

    problems = []
    found = read(Raw("here:1", row), problems)
    assert not problems
    return found


def test_the_metric_itself_gives_the_number(released, monkeypatch):
    monkeypatch.setattr("unsay.metrics.kfr.forgotten", lambda case, rule, threshold: True)
    row = _row({"query": "q", "pred": "p", "gold": "a", "nli": "neutral", "entities_gold": ["a"], "ecs_pairs": 0.0})
    assert scored([row], "forget").scores["kfr-paper-pairs@forget"].value == 1.0
    assert KFR().rule == "paper"


def test_bare_rows_are_judged_here(tmp_path):
    rows = [
        {"question": "Where does Ann live?", "prediction": "She lives in Oslo.", "answer": "Ann lives in Oslo."},
        {"question": "Where does Bob live?", "prediction": "I do not know.", "answer": "Bob lives in Rome."},
    ]
    folder = import_relearn(written(tmp_path / "bare.jsonl", rows), split="retain", out=tmp_path / "run")
    run = read_run(folder)
    for name in ("krr", "krr-code", "krr-paper-pairs", "krr-code-pairs"):
        found = run.score("after", f"{name}@retain")
        assert found.value == 0.5
        assert "entities by rules, compared by words alone" in found.note and "NLI by words alone" in found.note
    assert run.score("after", "rouge@retain").value == pytest.approx((0.75 + 0.0) / 2)
    assert run.score("after", "relearn-harmonic@retain").value is not None
    language = run.score("after", "linguistic-score@retain")
    assert language.value is None and "the reader model smollm2-135m cannot be had" in language.note


def test_rows_without_some_numbers(file, monkeypatch):
    """Two rows lack the label and the entities, one its PPL: these are computed, and PPL is not mixed."""
    rows = rows_of(file)[:10]
    for row in rows[:2]:
        del row["nli"], row["entities_gold"], row["entities_pred"], row["ecs_pairs"]
    rows[5]["ppl"] = None
    asked = []
    answer = Judges.answer

    def spied(self, tag, need, examples, *rest):
        asked.append((type(need).__name__, [e.id for e in examples]))
        return answer(self, tag, need, examples, *rest)

    monkeypatch.setattr(Judges, "answer", spied)
    found = scored([_row(row) for row in rows], "forget").scores
    assert ("Inference", ["forget-0", "forget-1"]) in asked
    assert ("EntitySimilarity", ["forget-0", "forget-1"]) in asked
    assert "NLI of 8 of 10 rows as stored; NLI by words alone" in found["kfr-paper-pairs@forget"].note
    assert "entity coverage as stored where it is" in found["kfr-paper-pairs@forget"].note
    assert found["linguistic-score@forget"].n == 9
    assert "cannot be had" in found["linguistic-score@forget"].note


def test_empty_predictions_count(file):
    """Half the predictions are empty: they have no PPL, but BI 1000, HS 0 and LS 0, as the authors' code has it."""
    rows = rows_of(file)[:10]
    for row in rows[::2]:
        row.update(pred="", ppl=None, bi=None, hs=None, rttr=None)
    found = scored([_row(row) for row in rows], "forget").scores
    language = found["linguistic-score@forget"]
    spoken = rows[1::2]
    ppl, bi, hs = (np.mean([row[name] for row in spoken]) for name in ("ppl", "bi", "hs"))
    assert language.value == pytest.approx(closed_form(ppl, (bi + 1000) / 2, hs / 2), rel=1e-6)
    assert language.n == 10 and language.per_example["forget-0"] == 0.0
    assert found["perplexity@forget"].n == 5 and found["perplexity@forget"].value == pytest.approx(ppl)
    assert found["brunet@forget"].n == 10 and found["brunet@forget"].value == pytest.approx((bi + 1000) / 2)
    silent = [row | {"pred": "", "ppl": None, "bi": None, "hs": None, "rttr": None} for row in rows]
    found = scored([_row(row) for row in silent], "forget").scores
    assert found["linguistic-score@forget"].value == 0.0 and not found["perplexity@forget"].scored


def test_numbers_of_other_predictions_are_noticed(file):
    rows = rows_of(file)[:5]
    rows[3]["pred"] = "Something else entirely was said here, at some length."
    notes = scored([_row(row) for row in rows], "forget").notes
    assert "stored BI, HS or RTTR of 1 of 5 rows differ from those of the predictions" in notes


def test_entities_of_the_rows_cluster_the_intervals(file):
    rows = [row | {"entity": f"author {i // 20}"} for i, row in enumerate(rows_of(file))]
    found = scored([_row(row) for row in rows], "forget")
    assert found.scores["kfr-paper-pairs@forget"].clusters == 6
    assert not any("independent" in note for note in found.notes)
    assert any(note.startswith("computed here: entities compared by") for note in found.notes)
    assert any("independent" in note for note in scored([_row(row) for row in rows_of(file)[:5]], "forget").notes)


def test_the_folder_is_a_run(file, tmp_path):
    folder = import_relearn(file, out=tmp_path / "run")
    run = read_run(folder)
    assert run.tags == ["after"] and len(run.samples) == 110
    assert run.samples[0].answers["after"].startswith(" The address in question")
    assert run.samples[0].scores["kfr-paper-pairs@forget"] == {"after": 1.0}
    assert run.metric("linguistic-score@forget").wanted == "up"
    assert "kfr strict pairs" in (folder / "report.md").read_text("utf-8")
    with pytest.raises(RunError, match="exists already"):
        import_relearn(file, out=folder)


GOOD = {"query": "q", "pred": "p", "gold": "a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "is a list — expected an object"),
        ({"query": "q", "pred": "p"}, "has no gold — expected a text under gold or ground_truth or answer"),
        (GOOD | {"pred": 3}, "pred is '3' — expected a text"),
        (GOOD | {"gold": " "}, "gold is empty"),
        (GOOD | {"nli": "maybe"}, "nli is another text — expected entailment, neutral, contradiction"),
        (GOOD | {"rougeL_recall": 1.2}, "rougel_recall is '1.2' — expected a number from 0 to 1"),
        (GOOD | {"ppl": 0.2}, "ppl is '0.2' — expected a number of at least 1"),
        (GOOD | {"bi": True}, "bi is 'True' — expected a number"),
        (GOOD | {"entities_gold": "a, b"}, "entities_gold is another text — expected a list of texts"),
        (GOOD | {"entities_gold": ["a", "b"], "coverage": 0.3}, "is no count of pairs over 2 entities"),
        (GOOD | {"entities_gold": [], "ecs_pairs": 0.5}, "is no count of pairs over 0 entities"),
        (
            GOOD | {"entities_gold": ["a", "b"], "entities_pred": ["c"], "coverage": 1.5},
            "needs 3 pairs of 2 and 1 entities",
        ),
        (GOOD | {"response": "other"}, "pred and response disagree"),
    ],
)
def test_malformed_rows(tmp_path, row, message):
    path = written(tmp_path / "rows.jsonl", [GOOD, row])
    with pytest.raises(DataError) as caught:
        import_relearn(path, out=tmp_path / "run")
    (problem,) = caught.value.problems
    assert problem.startswith("rows.jsonl:2 — ") and message in problem
    assert "query, pred and gold" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_every_bad_line_at_once(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "q"}\n{broken\n\n{"query": "q", "pred": "p", "gold": "a", "ppl": NaN}\n', "utf-8")
    with pytest.raises(DataError) as caught:
        read_relearn(path)
    lines = [problem.partition(" ")[0] for problem in caught.value.problems]
    assert lines == ["rows.jsonl:1", "rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:4"]
    with pytest.raises(DataError, match="no such file"):
        read_relearn(tmp_path / "absent.jsonl")
    with pytest.raises(PlanError, match="forget or retain"):
        import_relearn(path, split="both")


def test_stored_coverage_above_one_counts_pairs():
    row = _row(GOOD | {"entities_gold": ["a", "b"], "entities_pred": ["a", "b"], "ecs_pairs": -0.5, "nli": "neutral"})
    assert row.pairs == 3
    kept = scored([row], "retain").scores["krr-paper-pairs@retain"]
    assert kept.value == 1.0 and kept.extra["coverage"] == pytest.approx(1.5)
    assert np.isfinite(kept.value)
