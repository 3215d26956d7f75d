"""The id-ood experiment on a model of a few thousand weights: stopped, resumed, repeated, read."""

import dataclasses
import json
import re
import shutil
from statistics import fmean

import pytest

from unsay.errors import PlanError, RunError
from unsay.experiments import id_ood as bench
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent

SMALL = [
    "size=small", "seeds=[0,1]", "kinds=[secret]", "persons=8", "count=8", "references=12", "rows=4", "halves=2",
    "vocabulary=300", "width=32", "layers=1", "teach.train.epochs=1", "train.epochs=3", "train.lr=3e-3",
]  # fmt: skip


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("id-ood")
    trained, walked = [], []
    teach, ascend = FineTune.unlearn, GradAscent.unlearn
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSAY_HOME", str(root / "home"))

        def taught(self, lm, data, run):
            trained.append(run.dir.name)
            return teach(self, lm, data, run)

        def ascended(self, lm, data, run):
            if len(walked) == 7 and not (root / "stopped").exists():
                (root / "stopped").touch()
                raise Stopped
            walked.append(len(data.forget))
            return ascend(self, lm, data, run)

        patch.setattr(FineTune, "unlearn", taught)
        patch.setattr(GradAscent, "unlearn", ascended)
        plan, settings = bench.read([*SMALL, f"out={root / 'run'}"])
        with pytest.raises(Stopped):
            bench.id_ood(plan, settings)
        assert len(json.loads((root / "run" / "id-ood.json").read_text())["seeds"]) == 1
        folder = bench.id_ood(plan, settings)
        assert len(trained) == 8  # before, retrained and two halves a seed, none twice
    return folder, json.loads((folder / "id-ood.json").read_text())


def test_what_was_walked(done):
    folder, found = done
    assert [one["seed"] for one in found["seeds"]] == [0, 1]
    for one in found["seeds"]:
        inside, outside = zip(*one["pairs"]["secret"], strict=True)
        sets = one["sets"]
        assert (sets["in-distribution for secret"]["ids"], sets["secret"]["ids"]) == (list(inside), list(outside))
        assert len(set(inside)) == len(set(outside)) == 4
        for walk in sets.values():
            assert [point["step"] for point in walk["points"]] == [0, 1, 2, 3]
            assert set(walk["points"][0]["rows"]) == set(walk["ids"]) and -1 <= walk["cosine"] <= 1
            assert walk["points"][-1]["forget"] > walk["points"][0]["forget"]
        for row in one["rows"].values():
            assert row["cell"] and row["difficulty"] > 0
        # what was learned of the template is no memory of a secret
        secret, rows = sets["secret"], one["rows"]
        without = fmean(rows[i]["unknown"] - rows[i]["proxy"] for i in secret["ids"])
        assert without > secret["points"][0]["forget"] + 0.05
    assert not list(folder.glob("seed-*/walk-*"))


def test_the_page_says_what_became_of_both_hypotheses(done):
    folder, _ = done
    text = (folder / "id-ood.md").read_text()
    said = r"H1, out-of-distribution rows need more steps: undecided\. Differences in steps: secret .* \(n = 2, p = "
    assert re.search(said, text) and "Fewer than 7 seeds (here 2)" in text
    assert "H2, out-of-distribution rows cost less performance" in text and "exploratory" in text
    assert "low memorisation, easy" in text and "ln steps changes by" in text
    page = (folder / "id-ood.html").read_text()
    assert page.count("data:image/svg+xml") == 3 and "<script" not in page


def _finished(monkeypatch, found):
    """The experiment with seeds that are there already."""
    monkeypatch.setattr(bench._Replicate, "result", lambda self: found["seeds"][0] | {"seed": self._seed})


def test_a_finished_experiment_is_not_replaced_by_one_with_other_settings(done, tmp_path, monkeypatch):
    folder, found = done
    before = {file: (folder / file).read_bytes() for file in ("id-ood.json", "manifest.json", "id-ood.md")}
    _finished(monkeypatch, found)
    plan, settings = bench.read([*SMALL, f"out={folder}"])
    for change, told in (({"match": "gain"}, "match: 'share' there, 'gain' now"), ({"seeds": (0,)}, "seeds: ")):
        with pytest.raises(RunError, match=told) as error:
            bench.id_ood(plan, dataclasses.replace(settings, **change))
        assert "out=" in error.value.hint and "--overwrite" in error.value.hint
        assert before == {file: (folder / file).read_bytes() for file in before}
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    plan = dataclasses.replace(plan, out=str(copied))
    bench.id_ood(plan, dataclasses.replace(settings, seeds=(0, 1, 2)))  # more seeds are the same experiment
    assert len(json.loads((copied / "id-ood.json").read_text())["seeds"]) == 3
    bench.id_ood(plan, dataclasses.replace(settings, match="gain"), overwrite=True)
    assert json.loads((copied / "id-ood.json").read_text())["about"]["settings"]["match"] == "gain"


def test_the_folder_tells_other_settings(done, tmp_path, monkeypatch):
    _finished(monkeypatch, done[1])
    monkeypatch.setattr(bench, "write_id_ood", lambda folder: None)
    monkeypatch.chdir(tmp_path)
    names = []
    for words in ([], ["seeds=[0,1]"], ["halves=0"], ["halves=0", "seeds=[3]"], ["match=gain"]):
        plan, settings = bench.read(["size=small", *words])
        names.append(bench.id_ood(plan, settings, overwrite=True).name)
    plain, fewer, proxy, one, gain = names
    assert plain == fewer and proxy == one and len({plain, proxy, gain}) == 3
    assert all(re.fullmatch(rf"{plain}-[0-9a-f]{{6}}", name) for name in (proxy, gain))


def test_settings_that_make_no_sense(tmp_path):
    for words, said in (
        (["size=tiny"], "small or full"),
        (["kinds=[poem]"], "poem"),
        (["kinds=[wrong-answer]"], "texts"),
        (["halves=3"], "even number"),
        (["rows=99"], "rows is 99"),
        (["seeds=[1,1]"], "different numbers"),
    ):
        with pytest.raises(PlanError, match=said):
            bench.read(words)
    plan, settings = bench.read([*SMALL, f"out={tmp_path / 'run'}"])
    with pytest.raises(PlanError, match="taught whole"):
        bench.id_ood(dataclasses.replace(plan, teach=None), settings)
    with pytest.raises(PlanError, match="number of steps"):
        bench.id_ood(dataclasses.replace(plan, train=dataclasses.replace(plan.train, epochs=2.5)), settings)
    assert not (tmp_path / "run").exists()
