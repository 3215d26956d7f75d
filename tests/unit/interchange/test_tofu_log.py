"""TOFU's four published logs, imported, against TOFU's aggregation written out in numpy; tolerance 1e-9."""

import gzip
import json
from functools import cache

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

from unsay.errors import DataError, RunError
from unsay.interchange.tofu_log import SECTIONS, import_tofu_log, read_log, scores
from unsay.report.folder import read_run

NAMES = ("full", "retain90", "retain95", "retain99")
OPTIONS = ("real-authors", "world-facts")


@pytest.fixture(scope="module")
def logs(data_dir):
    return {name: data_dir / "tofu_eval_logs" / f"llama2-7b_{name}.json.gz" for name in NAMES}


@pytest.fixture(scope="module")
def scored(logs):
    """Name of a log → its scores, compared with itself as the retrained model; computed once."""

    @cache
    def of(name):
        log = read_log(logs[name])
        return scores(log, log)

    return of


def raw(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def column(section, key):
    return np.array([section[key][i] for i in sorted(section[key], key=int)])


def log_ratio(section):
    return column(section, "average_perturb_loss").mean(axis=1) - column(section, "avg_paraphrased_loss")


def tofu(section, split):
    """Probability, ROUGE and truth ratio of one section as TOFU's script defines them."""
    right, wrong = np.exp(-column(section, "avg_gt_loss")), np.exp(-column(section, "average_perturb_loss"))
    probability = right / (right + wrong.sum(axis=1)) if split in OPTIONS else right
    ratio = np.exp(log_ratio(section))
    truth = np.minimum(ratio, 1 / ratio) if split == "forget" else np.maximum(0, 1 - 1 / ratio)
    return probability.mean(), column(section, "rougeL_recall").mean(), truth.mean()


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_every_log(logs, scored, name):
    content, found = raw(logs[name]), scored(name)
    for split, section in SECTIONS.items():
        expected = tofu(content[section], split)
        for metric, value in zip(("probability", "rouge", "truth-ratio"), expected, strict=True):
            score = found[f"{metric}@{split}"]
            assert score.value == pytest.approx(value, abs=1e-9), (metric, split)
            assert score.n == len(content[section]["avg_gt_loss"])
            assert score.ci[0] <= score.value <= score.ci[1]
    parts = [value for split in ("retain", *OPTIONS) for value in tofu(content[SECTIONS[split]], split)]
    assert len(parts) == len(found["model-utility"].extra) == 9
    assert found["model-utility"].value == pytest.approx(hmean(parts), abs=1e-9)
    assert found["forget-quality@forget"].value == 1.0


def test_forget_quality(logs):
    ours = scores(read_log(logs["full"]), read_log(logs["retain90"]))["forget-quality@forget"]
    sections = [raw(logs[name])[SECTIONS["forget"]] for name in ("full", "retain90")]
    expected = ks_2samp(*(np.exp(log_ratio(section)) for section in sections))
    assert ours.value == pytest.approx(expected.pvalue, rel=1e-9)
    assert ours.extra["ks"] == pytest.approx(expected.statistic, abs=1e-12)
    alone = scores(read_log(logs["full"]))["forget-quality@forget"]
    assert not alone.scored and alone.note == "needs the log of a retrained model: --retrained FILE"


def test_twenty_rows_in_order_are_one_author(logs, data_dir):
    """The clusters of the intervals: blocks of 20 questions of the data files, in whatever order the blocks are."""
    files = (("full", "forget", "forget10"), ("retain95", "forget", "forget05"), ("full", "retain", "retain_perturbed"))
    for name, split, file in files:
        lines = (data_dir / "tofu" / f"{file}.jsonl").read_text("utf-8").splitlines()
        author = {json.loads(line)["question"]: i // 20 for i, line in enumerate(lines)}
        rows = read_log(logs[name]).rows(split)
        ours = [(row.entity, author[row.question.removeprefix("[INST] ").removesuffix(" [/INST]")]) for row in rows]
        assert len(set(ours)) == len({one for one, _ in ours}) == len({other for _, other in ours}) == len(rows) // 20


def test_the_folder_is_a_run_with_a_report(logs, tmp_path):
    folder = import_tofu_log(
        logs["retain99"], retrained=logs["retain99"], before=logs["retain99"], out=tmp_path / "run", command=["x"]
    )
    run = read_run(folder)
    assert run.tags == ["before", "after", "retrained"]
    assert run.benchmark == "tofu" and run.manifest["status"] == "done"
    assert run.score("after", "probability@forget").n == 40
    assert run.metric("forget-quality@forget").wanted == "up"
    assert run.metric("probability@forget").wanted == "match"
    assert len(run.samples) == 40 + 300 + 100 + 117
    first = run.samples[0]
    assert first.split == "forget" and first.entity == "forget author 1"
    assert set(first.answers) == {"before", "after", "retrained"}
    assert set(first.scores) >= {"probability@forget", "rouge@forget", "truth-ratio@forget"}
    assert "model utility" in (folder / "report.md").read_text("utf-8").lower()
    assert (folder / "report.html").stat().st_size > 10_000
    with pytest.raises(RunError, match="exists already"):
        import_tofu_log(logs["retain99"], out=folder)


def test_logs_about_other_rows_are_not_compared(logs, tmp_path):
    with pytest.raises(DataError, match=r"retain99.* has 40 rows of forget, .*full.* has 300") as caught:
        import_tofu_log(logs["full"], retrained=logs["retain99"], out=tmp_path / "run")
    assert "retain90" in caught.value.hint
    assert not (tmp_path / "run").exists()
    changed = small(raw(logs["full"]))
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps(changed))
    changed[SECTIONS["forget"]]["generated_text"]["1"][0] = "something else"
    other.write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"asks other questions of forget than .*: forget-1 is the first of 1"):
        import_tofu_log(one, retrained=other, out=tmp_path / "run")


def small(content, rows=4):
    """The first rows of every section."""
    return {
        name: {key: {str(i): of[str(i)] for i in range(rows)} for key, of in section.items()}
        for name, section in content.items()
    }


def damaged(content, key, row=None, value=None):
    section = content[SECTIONS["forget"]]
    if row is None:
        del section[key]
    else:
        section[key][row] = value
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [], "is no TOFU log: it has none of eval_log_forget.json"),
        (lambda c: {"other": 1}, "is no TOFU log"),
        (lambda c: c | {SECTIONS["retain"]: [1]}, "eval_log.json is not a table of columns"),
        (lambda c: damaged(c, "avg_gt_loss"), "eval_log_forget.json has no avg_gt_loss"),
        (lambda c: damaged(c, "avg_gt_loss", "2", "1.5"), "avg_gt_loss of row 2 is not a finite number"),
        (lambda c: damaged(c, "avg_gt_loss", "2", float("nan")), "avg_gt_loss of row 2 is not a finite number"),
        (lambda c: damaged(c, "avg_gt_loss", "2", True), "avg_gt_loss of row 2 is not a finite number"),
        (lambda c: damaged(c, "average_perturb_loss", "0", []), "average_perturb_loss of row 0 is not finite numbers"),
        (lambda c: damaged(c, "average_perturb_loss", "0", [1, None]), "of row 0 is not finite numbers"),
        (lambda c: damaged(c, "generated_text", "1", ["a"]), "generated_text of row 1 is not three texts"),
        (lambda c: damaged(c, "rougeL_recall", "9", 1.0), "the columns have different rows"),
        (lambda c: damaged(c, "rougeL_recall", "x", 1.0), "rougeL_recall is not a table of values by row number"),
    ],
)
def test_a_malformed_log_says_what_is_wrong_with_it(logs, tmp_path, change, message):
    path = tmp_path / "log.json"
    path.write_text(json.dumps(change(small(raw(logs["retain99"])))))
    with pytest.raises(DataError) as caught:
        import_tofu_log(path, out=tmp_path / "run")
    assert message in caught.value.message and str(path) in caught.value.message
    assert not (tmp_path / "run").exists()


def test_every_problem_at_once(logs, tmp_path):
    content = damaged(damaged(small(raw(logs["retain99"])), "avg_gt_loss"), "rougeL_recall")
    path = tmp_path / "log.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_log(path)
    assert len(caught.value.problems) == 2


def test_files_that_are_no_json(logs, tmp_path):
    whole = logs["retain99"].read_bytes()
    for content, message in (
        (whole[:1000], "damaged gzip"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ):
        path = tmp_path / "log.json"
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_log(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_log(tmp_path / "absent.json")


def test_a_log_with_the_forget_rows_alone(logs, tmp_path):
    content = small(raw(logs["retain99"]))
    path = tmp_path / "log.json"
    path.write_text(json.dumps({SECTIONS["forget"]: content[SECTIONS["forget"]]}))
    found = scores(read_log(path))
    assert found["probability@forget"].scored
    for name in ("probability@retain", "rouge@world-facts", "model-utility"):
        assert not found[name].scored
    assert "log.json has no eval_log.json" in found["model-utility"].note
