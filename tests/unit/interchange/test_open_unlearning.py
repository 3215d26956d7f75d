"""Evaluations of open-unlearning as run folders: its values, our names where they are the same, our intervals."""

import json
import shutil

import numpy as np
import pytest

from unsay import stats
from unsay.errors import DataError
from unsay.interchange.open_unlearning import import_open_unlearning
from unsay.report.folder import read_run

from .conftest import ROWS, evaluation, rouge, write_evaluation

SAME = {
    "forget_Q_A_Prob": "probability@forget",
    "forget_Q_A_ROUGE": "rouge@forget",
    "forget_Q_A_PARA_Prob": "paraphrase-probability@forget",
    "forget_truth_ratio": "truth-ratio@forget",
    "extraction_strength": "extraction-strength@forget",
    "exact_memorization": "exact-memorization@forget",
    "forget_quality": "forget-quality@forget",
    "mia_min_k": "min-k@forget",
    "mia_loss": "loss-attack@forget",
    "privleak": "privleak@forget",
    "model_utility": "model-utility",
    "retain_Q_A_Prob": "probability@retain",
    "retain_Q_A_ROUGE": "rouge@retain",
    "retain_Truth_Ratio": "truth-ratio@retain",
    "ra_Q_A_Prob_normalised": "probability@real-authors",
    "wf_Truth_Ratio": "truth-ratio@world-facts",
}


@pytest.fixture
def run(folders, tmp_path):
    given, _ = folders
    return read_run(
        import_open_unlearning(
            given["after"], before=given["before"], retrained=given["retrained"], out=tmp_path / "run"
        )
    )


def test_values_are_the_evaluations_own(run, folders):
    assert run.tags == ["before", "after", "retrained"] and run.benchmark == "tofu"
    for tag, content in folders[1].items():
        for name, ours in SAME.items():
            if content.get(name, {}).get("agg_value") is not None:
                assert run.score(tag, ours).value == pytest.approx(content[name]["agg_value"], abs=1e-12), (tag, name)


def test_intervals_come_from_the_rows(run, folders):
    content = folders[1]["after"]
    for name, ours in SAME.items():
        number = run.score("after", ours)
        if name == "forget_quality":
            assert number.ci is None and number.n == ROWS
            continue
        assert number.ci and number.ci[0] < number.value < number.ci[1], ours
        assert number.clusters == 0
    values = {i: row["prob"] for i, row in content["forget_Q_A_Prob"]["value_by_index"].items()}
    width = np.diff(stats.mean(values, {}).ci)[0]
    assert np.diff(run.score("after", "probability@forget").ci)[0] == pytest.approx(width, rel=0.15)
    assert any("clusters are unknown" in note for note in run.manifest["notes"])


def test_rows_are_kept(run, folders):
    content = folders[1]["after"]
    sample = next(s for s in run.samples if s.id == "forget-3")
    assert (sample.prompt, sample.target) == ("forget question 3?", "forget answer 3")
    assert sample.answers == {tag: "forget said 3" for tag in run.tags}
    assert sample.scores["probability@forget"]["after"] == content["forget_Q_A_Prob"]["value_by_index"]["3"]["prob"]
    ratio = content["forget_truth_ratio"]["value_by_index"]["3"]["score"]
    assert sample.scores["truth-ratio@forget"]["after"] == pytest.approx(min(ratio, 1 / ratio))
    assert sum(s.split == "holdout" for s in run.samples) == ROWS


def test_others_keep_their_names_and_are_not_judged(run):
    for name in ("mia_zlib", "forget_Q_A_PERT_Prob"):
        assert run.metric(name).wanted is None and run.score("after", name).value is not None
        assert run.score("after", name).ci
    assert run.score("after", "forget_Q_A_PERT_Prob").value == 0.2, "two wrong answers a row, averaged"
    assert run.metric("forget-quality@forget").wanted == "up"
    assert run.metric("probability@forget").wanted == "match"


def test_an_attack_has_the_right_side_up(run, folders):
    """Members have the lower loss, so the AUC is above one half, and flipping the rows' sign would put it below."""
    number = run.score("before", "min-k@forget")
    assert number.value == folders[1]["before"]["mia_min_k"]["agg_value"] > 0.7
    assert number.ci[0] > 0.5


def test_forget_quality_is_computed_where_it_is_missing(folders, tmp_path):
    given, content = folders
    expected = content["after"]["forget_quality"]["agg_value"]
    bare = {**content["after"], "forget_quality": {"agg_value": None}}
    alone = write_evaluation(tmp_path / "alone", bare)
    run = read_run(import_open_unlearning(alone, out=tmp_path / "one"))
    number = run.score("after", "forget-quality@forget")
    assert number.value is None and "--retrained DIR" in number.note
    run = read_run(import_open_unlearning(alone, retrained=given["retrained"], out=tmp_path / "two"))
    assert run.score("after", "forget-quality@forget").value == pytest.approx(expected, rel=1e-6)
    assert run.score("after", "privleak@forget").ci


def test_privleak_without_the_retrained_rows_has_no_interval(folders, tmp_path):
    run = read_run(import_open_unlearning(folders[0]["after"], out=tmp_path / "run"))
    number = run.score("after", "privleak@forget")
    assert number.value == folders[1]["after"]["privleak"]["agg_value"]
    assert number.ci is None and "mia_min_k" in number.note


def test_values_that_the_rows_do_not_give_have_no_interval(folders, tmp_path):
    content = dict(folders[1]["after"])
    content["extraction_strength"] = {**content["extraction_strength"], "agg_value": 0.99}
    content["mia_loss"] = {**content["mia_loss"], "agg_value": 0.1}
    content["model_utility"] = {"agg_value": 0.5}
    run = read_run(import_open_unlearning(write_evaluation(tmp_path / "odd", content), out=tmp_path / "run"))
    odd = run.score("after", "extraction_strength")
    assert odd.value == 0.99 and odd.ci is None and "not the mean" in odd.note
    assert run.score("after", "extraction-strength@forget").value is None
    attack = run.score("after", "loss-attack@forget")
    assert attack.value == 0.1 and attack.ci is None
    assert run.score("after", "model-utility").ci is None


def test_the_summary_alone(folders, tmp_path):
    (tmp_path / "only").mkdir()
    shutil.copy(folders[0]["after"] / "TOFU_SUMMARY.json", tmp_path / "only")
    run = read_run(import_open_unlearning(tmp_path / "only", out=tmp_path / "run"))
    number = run.score("after", "probability@forget")
    assert number.value == folders[1]["after"]["forget_Q_A_Prob"]["agg_value"]
    assert number.ci is None and number.n == 0 and "summary alone" in number.note


def test_a_summary_that_contradicts_is_said(folders, tmp_path):
    folder = folders[0]["after"]
    (folder / "TOFU_SUMMARY.json").write_text(json.dumps({"forget_Q_A_Prob": 0.123, "mmlu/acc": 0.4}))
    run = read_run(import_open_unlearning(folder, out=tmp_path / "run"))
    assert any("the summary has 0.123 for forget_Q_A_Prob" in note for note in run.manifest["notes"])
    assert run.score("after", "mmlu/acc").value == 0.4


def test_muse(tmp_path):
    rng = np.random.default_rng(0)
    content = {f"{name}_ROUGE": rouge(rng, name, "rougeL_f1") for name in ("forget_knowmem", "retain_knowmem")}
    content["forget_verbmem_ROUGE"] = rouge(rng, "v", "rougeL_recall")
    content["extraction_strength"] = evaluation(5)["extraction_strength"]
    folder = write_evaluation(tmp_path / "muse", content, "MUSE")
    run = read_run(import_open_unlearning(folder, out=tmp_path / "run"))
    assert run.benchmark == "muse"
    assert run.score("after", "rouge-f1@forget-knowmem").ci
    assert run.metric("rouge-f1@forget-knowmem").wanted == "match"
    assert run.metric("rouge-f1@retain-knowmem").wanted == "up"
    assert run.score("after", "rouge@forget-verbmem").value is not None, "the file says which kind of ROUGE it is"


def test_a_folder_of_folders(folders, tmp_path):
    parent = folders[0]["after"].parent
    assert read_run(import_open_unlearning(parent, out=tmp_path / "a")).tags == ["before", "after", "retrained"]
    deep = tmp_path / "task" / "checkpoint-10" / "evals"
    shutil.copytree(folders[0]["after"], deep)
    assert read_run(import_open_unlearning(tmp_path / "task", out=tmp_path / "b")).tags == ["after"]
    shutil.copytree(deep, tmp_path / "task" / "checkpoint-20" / "evals")
    with pytest.raises(DataError, match=r"holds 2 evaluations: checkpoint-10/evals, checkpoint-20/evals") as caught:
        import_open_unlearning(tmp_path / "task", out=tmp_path / "c")
    assert "--retrained" in caught.value.hint
    file = import_open_unlearning(folders[0]["after"] / "TOFU_EVAL.json", out=tmp_path / "d")
    assert read_run(file).score("after", "model-utility").ci


def test_other_rows_are_not_compared(folders, tmp_path):
    given, _ = folders
    other = evaluation(9)
    other["forget_Q_A_ROUGE"]["value_by_index"]["4"]["ground_truth"] = "another"
    folder = write_evaluation(tmp_path / "other", other)
    with pytest.raises(DataError, match="forget_Q_A_ROUGE of row 4 has another right answer"):
        import_open_unlearning(given["after"], retrained=folder, out=tmp_path / "run")
    del other["forget_Q_A_Prob"]["value_by_index"]["4"]
    write_evaluation(folder, other)
    with pytest.raises(DataError, match=r"has 23 rows of forget_Q_A_Prob, .* has 24"):
        import_open_unlearning(given["after"], retrained=folder, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "is not a table of metrics"),
        ("{", "is not JSON"),
        ('{"a": 3}', "a is not a table with agg_value and value_by_index"),
        ('{"a": {"agg_value": "x"}}', "a: agg_value is not a number"),
        ('{"a": {"agg_value": 1, "value_by_index": [1]}}', "a: value_by_index is not a table"),
        ('{"a": {"agg_value": 1, "value_by_index": {"0": "x"}}}', "a: row 0 is neither"),
        ('{"a": {"other": 1}}', "holds no metric"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    (tmp_path / "TOFU_EVAL.json").write_text(content)
    with pytest.raises(DataError) as caught:
        import_open_unlearning(tmp_path, out=tmp_path / "run")
    assert message in caught.value.message and "TOFU_EVAL.json" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"has no .*_EVAL.json"):
        import_open_unlearning(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        import_open_unlearning(tmp_path / "absent")
    (tmp_path / "TOFU_EVAL.json").write_text('{"a": {"agg_value": NaN}, "b": {"agg_value": null}}')
    run = read_run(import_open_unlearning(tmp_path, out=tmp_path / "run"))
    assert run.score("after", "a").note == "the file has no finite number"
    assert run.score("after", "b").note == "not computed there"
