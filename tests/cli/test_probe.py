"""``unsay probe``: on a run, on several models, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unsay.mechanism.seesaw import STAGES, seesaw


@pytest.fixture
def mine(unsay, rows, tiny_model):
    """What a finished run leaves for a probe: two models and the rows."""
    from unsay.config.plan import DataSpec, ModelSpec, Plan
    from unsay.data.read import read_rows
    from unsay.data.read_shape import to_row
    from unsay.models.lm import LM
    from unsay.runs.manifest import ModelRecord
    from unsay.runs.run import Run

    forget, retain = rows
    data = DataSpec(forget=str(forget), retain=str(retain))
    lm = LM.load(str(tiny_model))
    records = {"before": ModelRecord(str(tiny_model), lm.fingerprint())}
    with Run.start(Plan(model=ModelSpec(path=str(tiny_model)), data=data, out="runs/mine")) as run:
        for block in lm.model.model.layers:
            block.mlp.down_proj.weight.data *= 0.5
        lm.save(run.path("model"))
        run.record(models={**records, "after": ModelRecord(str(tiny_model), lm.fingerprint(), "model")})
        run.write_jsonl("data/forget.jsonl", [to_row(row) for row in read_rows(forget)])
    return Path("runs/mine")


def test_a_run_is_looked_at_in_three_ways(unsay, mine):
    for kind, more in (("topk", ["--at", "all"]), ("lens", []), ("circuits", ["--tau", "0.01,0.3", "--exact", "3"])):
        done = unsay("probe", kind, mine, *more, "--quiet")
        assert done.code == 0, done.err
        folder = mine / f"probe-{kind}"
        found = json.loads((folder / f"{kind}.json").read_text())
        assert list(found["models"]) == ["before", "after"] and found["reference"] == "before"
        assert len(found["rows"]) == 2 and "<svg" in (folder / f"{kind}.svg").read_text()
        assert (folder / "MANIFEST.json").is_file() and "| after |" in done.out

    topk = json.loads((mine / "probe-topk" / "topk.json").read_text())
    row = topk["rows"][0]
    assert len(row["wanted"]) == len(row["answer"])  # one token a character, without the end token
    assert all(len(one["top"]) == 5 and sum(p for _, p in one["top"]) <= 1.0001 for one in row["models"]["before"])
    assert "seesaw" in row["models"]["after"][0] and "seesaw" not in row["models"]["before"][0]
    stages = topk["summary"]["after"]["stages"]
    assert sum(stages.values()) == sum(len(row["wanted"]) for row in topk["rows"])
    assert topk["summary"]["after"]["suppression"]["n"] == 2

    lens = json.loads((mine / "probe-lens" / "lens.json").read_text())
    for name, said in lens["rows"][0]["models"].items():
        last = said["layers"][-1]
        first = topk["rows"][0]["models"][name][0]
        assert len(said["layers"]) == 4 and last["fkl"] == 0  # three layers and the embedding
        assert last["top"][0][0] == first["top"][0][0]  # the last layer says what the model says
        assert np.exp(last["logp"]) == pytest.approx(first["wanted"]["p"], rel=1e-3)
        assert last["entropy"] == pytest.approx(first["entropy"], rel=1e-3)

    circuits = json.loads((mine / "probe-circuits" / "circuits.json").read_text())
    before = circuits["summary"]["before"]
    assert before["like_reference"]["value"] == pytest.approx(1) and np.array(before["gates"]).shape == (3, 5)
    one = circuits["rows"][0]["models"]["before"]
    assert len(one["parts"]) == 3 and one["routes"]["0.01"]["edges"] > one["routes"]["0.3"]["edges"]
    assert set(one["routes"]["0.01"]["reached"]) <= {"subject", "question", "template", "answer"}
    sizes = [abs(part["slope"]) for part in one["parts"]]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == pytest.approx(np.abs(one["gates"]).max())


def test_two_runs_share_what_was_before(unsay, mine):
    shutil.copytree(mine, "runs/other")
    manifest = Path("runs/other/manifest.json")
    old = json.loads(manifest.read_text())["models"]["before"]["fingerprint"]
    manifest.write_text(manifest.read_text().replace(old, "0" * 32))
    done = unsay("probe", "topk", mine, "ga=runs/other", "--at", "fact", "--out", "both", "--quiet")
    assert done.code == 0, done.err
    found = json.loads(Path("both/topk.json").read_text())
    assert list(found["models"]) == ["before", "mine", "ga"]
    assert [row["wanted"] for row in found["rows"]] == [["T"], ["R"]]
    assert "another model" in found["notes"][0]
    assert found["summary"]["mine"] == found["summary"]["ga"]
    manifest.write_text(manifest.read_text().replace('"after"', '"later"'))
    bad = unsay("probe", "topk", mine, "runs/other", "--out", "both")
    assert bad.code == 2 and "finish the run" in bad.err


def test_models_need_prompts_and_names_are_kept(unsay, rows, tiny_model):
    forget, _ = rows
    bad = unsay("probe", "topk", tiny_model)
    assert bad.code == 2 and "--prompts" in bad.err
    words = ["probe", "topk", f"one={tiny_model}", f"other={tiny_model}", "--prompts", forget, "--rows", "1", "--quiet"]
    done = unsay(*words, "--out", "seesaw")
    assert done.code == 0, done.err
    found = json.loads(Path("seesaw/topk.json").read_text())
    assert list(found["models"]) == ["one", "other"] and len(found["rows"]) == 1 and "1 of 2 rows" in found["notes"][0]
    said = found["rows"][0]["models"]["other"][0]["seesaw"]
    assert said["stage"] == "kept" and said["total_variation"] == 0 and said["jaccard"] == 1
    Path("seesaw/extra.txt").write_text("x")
    assert unsay(*words, "--out", "seesaw").code == 0  # its own folder is replaced
    assert not Path("seesaw/extra.txt").exists()


def test_what_it_refuses(unsay, rows, tiny_model, tmp_path):
    forget, _ = rows
    prompts = ["--prompts", forget]
    for words, said in (
        ([tiny_model, tiny_model, *prompts], "two models are called"),
        ([tiny_model, *prompts, "--rows", "0"], "--rows"),
        ([tiny_model, *prompts, "--k", "1"], "--k"),
        ([tiny_model, *prompts, "--at", "end"], "--at"),
        ([tiny_model, *prompts, "--template", "x"], "--template"),
        ([tiny_model, "--prompts", "no.jsonl"], "no.jsonl"),
        (["nowhere/model", *prompts], "nowhere/model"),
        ([tiny_model, *prompts, "--out", tmp_path], "was not written by"),
    ):
        bad = unsay("probe", "topk", *words)
        assert bad.code == 2 and said in bad.err, (words, bad.err)
    assert "between 0 and 1" in unsay("probe", "circuits", tiny_model, *prompts, "--tau", "2").err
    assert "--tau" in unsay("probe", "circuits", tiny_model, *prompts, "--tau", "x").err
    assert not Path("runs").exists()


def test_models_with_other_tokens_are_refused(unsay, rows, tiny_model, tmp_path):
    from unsay.testing import tiny_lm

    tiny_lm(corpus=["What is the cat of Ada called?"]).save(tmp_path / "words")
    bad = unsay("probe", "lens", tiny_model, tmp_path / "words", "--prompts", rows[0], "--out", "x")
    assert bad.code == 2 and "other tokens" in bad.err and not Path("x").exists()


def test_help_teaches(unsay):
    assert "unsay probe topk runs/" in unsay("probe", "--help").out
    said = unsay("probe", "topk", "--help").out
    assert all(stage in said for stage in STAGES)


def logs(*p):
    return np.log(np.array(p, dtype=float))


@pytest.mark.parametrize(
    ("after", "stage"),
    [
        ((0.5, 0.3, 0.1, 0.05, 0.05), "kept"),
        ((0.2, 0.7, 0.05, 0.03, 0.02), "handed-over"),
        ((0.1, 0.1, 0.2, 0.35, 0.25), "scattered"),
        ((0.01, 0.01, 0.02, 0.95, 0.01), "reconstructed"),
    ],
)
def test_stages(after, stage):
    before = logs(0.6, 0.3, 0.05, 0.03, 0.02)
    found = seesaw(before, logs(*after), k=2)
    assert found.stage == stage
    assert found.suppression == pytest.approx(0.6 - after[0]) and found.hand_over == pytest.approx(after[1] - 0.3)
    assert found.total_variation == pytest.approx(
        sum(max(0, a - b) for a, b in zip(after, np.exp(before), strict=True))
    )


def test_a_third_candidate_is_neither_stage():
    assert seesaw(logs(0.6, 0.3, 0.08, 0.02), logs(0.1, 0.1, 0.7, 0.1), k=3).stage == "reshuffled"


def test_a_vocabulary_that_grew():
    found = seesaw(logs(0.6, 0.4), logs(0.1, 0.1, 0.8), k=2)
    assert found.stage == "reconstructed" and found.total_variation == pytest.approx(0.8)
    assert found.jaccard == pytest.approx(1 / 3)
