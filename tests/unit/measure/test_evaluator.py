"""One sweep serves all metrics; the store answers for models; interruptions cost nothing that was measured."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from unsay.benchmarks.people_small import PeopleSmall
from unsay.config.plan import Plan
from unsay.data.example import Example, Message
from unsay.errors import Interrupted, PlanError
from unsay.measure.effort import Effort
from unsay.measure.evaluator import Evaluator
from unsay.measure.texts import Ask
from unsay.measure.token_stats import Sweep, token_stats
from unsay.metrics.exact_memorization import ExactMemorization
from unsay.metrics.extraction_strength import ExtractionStrength
from unsay.metrics.forget_quality import ForgetQuality
from unsay.metrics.gradient_norm import GradientNorm
from unsay.metrics.loss_attack import LossAttack
from unsay.metrics.min_k import MinK
from unsay.metrics.min_k_pp import MinKPp
from unsay.metrics.model_utility import ModelUtility
from unsay.metrics.paraphrase_probability import ParaphraseProbability
from unsay.metrics.probability import Probability
from unsay.metrics.rouge import Rouge
from unsay.metrics.truth_ratio import TruthRatio
from unsay.metrics.zlib_ratio import ZlibRatio
from unsay.models._tiny import tiny_lm
from unsay.models.layers import head_is_plain
from unsay.runs.run import Run
from unsay.runs.store import Store

PEOPLE = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")


def example(name, trade="baker"):
    others = tuple(f"{name} is a {x}." for x in ("diver", "vet", "cook"))
    alternatives = {
        "paraphrased": (f"A {trade}, {name} is.",),
        "perturbed": others,
        "paraphrased_question": (f"What does {name} do?",),
    }
    return Example(f"Who is {name}?", f"{name} is a {trade}.", alternatives=alternatives, meta={"entity": name})


SPLITS = {
    "forget": [example(n) for n in PEOPLE[:2]],
    "retain": [example(n) for n in PEOPLE[2:4]],
    "holdout": [example(n) for n in PEOPLE[4:]],
}
METRICS = (
    Probability(split="forget"),
    Probability(split="retain", choices=True),
    ParaphraseProbability(split="forget"),
    TruthRatio(split="forget"),
    ExactMemorization(split="forget"),
    ExtractionStrength(split="forget"),
    LossAttack(),
    ZlibRatio(),
    MinK(),
    MinKPp(),
    ForgetQuality(),
    Rouge(split="forget", max_new_tokens=6),
    ModelUtility(splits=("retain",), choices=("retain",), max_new_tokens=4),
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def evaluator(store, metrics=METRICS, splits=SPLITS, **settings):
    return Evaluator(splits, metrics, store=store, precision="fp32", **settings)


def fed(lm):
    """Ids of every sequence that goes through `lm` from now on."""
    assert head_is_plain(lm.model)
    rows = []
    lm.model.get_input_embeddings().register_forward_hook(lambda m, args, out: rows.extend(args[0].tolist()))
    return rows


def refuse():
    raise AssertionError("nothing is missing: the model must not be loaded")


def test_one_sweep_serves_all_metrics(store):
    scoring = [m for m in METRICS if not isinstance(m, (Rouge, ModelUtility))]
    lm = tiny_lm(num_hidden_layers=1)
    asks = {
        Ask(q, a)
        for row in (r for rows in SPLITS.values() for r in rows)
        for q in (row.prompt, *row.alternatives["paraphrased_question"])
        for a in (row.answer, *row.alternatives["paraphrased"], *row.alternatives["perturbed"])
    }
    # What the network allows is tried once, by forwards of its own.
    evaluator(Store(store.root / "tried"), scoring).measure("after", lm)
    batches = []
    lm.model.get_input_embeddings().register_forward_hook(lambda m, args, out: batches.append(args[0].shape))
    judge = evaluator(store, scoring)
    judge.measure("after", lm)
    together = len(batches)
    assert judge.effort("after").tokens <= Sweep(lm, sorted(asks)).tokens
    # Every metric alone, each with a store of its own: what the same work costs one by one.
    alone = 0
    for i, metric in enumerate(scoring):
        one = evaluator(Store(store.root / str(i)), [metric])
        one.measure("after", lm)
        alone += one.effort("after").tokens
        assert one.scores()["after"].keys() <= judge.scores()["after"].keys()
    assert alone > 3 * judge.effort("after").tokens
    assert len(batches) - together > 3 * together


def test_scores_are_those_of_the_texts(store):
    lm = tiny_lm()
    judge = evaluator(store)
    judge.measure("after", lm)
    scores = judge.scores()["after"]
    stats = token_stats(lm, [Ask(r.prompt, r.answer) for r in SPLITS["forget"]], precision="fp32")
    p = [stats[Ask(r.prompt, r.answer)].p for r in SPLITS["forget"]]
    assert scores["probability@forget"].value == pytest.approx(np.mean(p), rel=1e-6)
    assert scores["exact-memorization@forget"].value == pytest.approx(
        np.mean([np.mean(s.rank == 0) for s in stats.values()])
    )
    assert all(s.scored or s.note for s in scores.values())
    assert scores["rouge@forget"].scored and scores["model-utility"].note + str(scores["model-utility"].value)


def test_absent_retrained_model_is_said(store):
    judge = evaluator(store)
    judge.measure("after", tiny_lm())
    quality = judge.scores()["after"]["forget-quality@forget"]
    assert not quality.scored
    assert quality.note == "needs a retrained reference: give retrained=PATH or teach.retrained=true"
    judge.measure("retrained", tiny_lm(seed=1))
    quality = judge.scores()["after"]["forget-quality@forget"]
    assert quality.scored and quality.extra["log_ratio_difference"] != 0
    assert judge.scores()["retrained"]["forget-quality@forget"].extra["log_ratio_difference"] == 0


def test_everything_stored_loads_no_model(store):
    lm = tiny_lm()
    first = evaluator(store)
    first.measure("after", lm)
    again = evaluator(store)
    again.measure("before", fingerprint=lm.fingerprint(), load=refuse)
    assert again.effort("before").tokens == 0 < first.effort("after").tokens
    assert again.samples()[0]["answers"]["before"] == first.samples()[0]["answers"]["after"]
    for name, score in first.scores()["after"].items():
        assert str(again.scores()["before"][name]) == str(score)


def test_only_what_is_new_is_measured(store):
    lm = tiny_lm()
    evaluator(store, [Probability(split="forget")]).measure("after", lm)
    rows = fed(lm)
    more = evaluator(
        store, [Probability(split="forget"), Probability(split="retain"), ExactMemorization(split="forget")]
    )
    more.measure("after", lm)
    texts = lm.tokenizer.batch_decode(rows)
    assert sum("Cy" in t or "Di" in t for t in texts) == 2
    assert not any("Ada" in t or "Bo" in t for t in texts)
    seen = len(rows)
    # The same rows under another split name are the same texts.
    evaluator(store, [Probability(split="forget")], {"forget": SPLITS["retain"]}).measure("x", lm)
    assert len(rows) == seen


@pytest.mark.parametrize("change", ["weights", "row", "precision", "length"])
def test_what_matters_is_in_the_key(store, change):
    lm = tiny_lm()
    metrics = [Probability(split="forget")]
    evaluator(store, metrics).measure("after", lm)
    splits, settings = dict(SPLITS), {"precision": "fp32"}
    if change == "weights":
        with torch.no_grad():
            next(lm.model.parameters())[0, 0] += 1e-3
    elif change == "row":
        splits["forget"] = [SPLITS["forget"][0], example("Bo", "barber")]
    elif change == "precision":
        settings["precision"] = "bf16"
    else:
        settings["max_length"] = 100
    judge = Evaluator(splits, metrics, store=store, **settings)
    judge.measure("after", lm)
    assert judge.effort("after").tokens > 0


def test_greedy_answers_of_two_lengths_are_one_generation(store):
    lm = tiny_lm()
    rows = fed(lm)
    metrics = [Rouge(split="forget", max_new_tokens=9), Rouge(split="forget", max_new_tokens=3, label="short")]
    judge = evaluator(store, metrics)
    judge.measure("after", lm)
    assert len(rows) <= 2 * 9
    alone = evaluator(Store(store.root / "alone"), metrics[1:])
    alone.measure("after", lm)
    assert alone.scores()["after"]["short@forget"] == judge.scores()["after"]["short@forget"]
    assert len(judge.samples()[0]["answers"]["after"]) > len(alone.samples()[0]["answers"]["after"])


class Stops(Run):
    """A run that gets a real signal once it was asked `after` times whether to stop."""

    asked = 0
    after = 2

    def check_stop(self):
        self.asked += 1
        if self.asked == self.after:
            os.kill(os.getpid(), signal.SIGTERM)
        super().check_stop()


@pytest.mark.parametrize("after", [1, 2, 3, 7])
def test_an_interrupted_measure_resumes(store, tmp_path, after):
    lm = tiny_lm()
    whole = evaluator(Store(tmp_path / "whole"), micro_tokens=300)
    whole.measure("after", lm)
    Stops.after = after
    plan = Plan(out=str(tmp_path / "run"))
    with pytest.raises(Interrupted), Stops.start(plan) as run:
        stopped = evaluator(store, run=run, micro_tokens=300)
        rows = fed(lm)
        stopped.measure("after", lm)
    before = len(rows)
    resumed = evaluator(store, micro_tokens=300)
    resumed.measure("after", lm)
    assert before > 0
    assert 0 < resumed.effort("after").tokens < whole.effort("after").tokens
    for name, score in whole.scores()["after"].items():
        assert resumed.scores()["after"][name].value == pytest.approx(score.value, rel=1e-5, nan_ok=True)
    assert resumed.samples()[0]["answers"] == whole.samples()[0]["answers"]


class Bars:
    """A reporter that remembers."""

    def __init__(self):
        self.tasks = []

    def task(self, label, total, unit):
        self.tasks.append([label, total, unit, 0.0])
        return self

    def advance(self, n=1):
        self.tasks[-1][3] += n

    def finish(self):
        pass


def test_progress_has_its_total_beforehand(store):
    bars = Bars()
    evaluator(store, run=Run.temporary(reporter=bars)).measure("after", tiny_lm())
    assert [(label, unit) for label, _, unit, _ in bars.tasks] == [
        ("score after", "tokens"),
        ("ask after", "answers"),
    ]
    assert all(total == done > 0 for _, total, _, done in bars.tasks)


def test_cut_answers_are_noted_also_when_stored(store):
    lm = tiny_lm()
    limit = len(lm.template.encode(SPLITS["forget"][0].prompt, SPLITS["forget"][0].answer)) - 2
    for _ in range(2):
        run = Run.temporary()
        evaluator(store, [Probability(split="forget")], run=run, max_length=limit).measure("after", lm)
        assert run.manifest.notes == [f"1 texts of forget (answer) exceed {limit} tokens and were scored up to there"]


def test_samples(store):
    judge = evaluator(store)
    judge.measure("before", tiny_lm())
    judge.measure("after", tiny_lm(seed=1))
    rows = judge.samples()
    assert [(r["split"], r["entity"]) for r in rows] == [(s, r.entity) for s, rows in SPLITS.items() for r in rows]
    json.dumps(rows, allow_nan=False)
    row = rows[0]
    assert (row["prompt"], row["target"], row["id"]) == ("Who is Ada?", "Ada is a baker.", SPLITS["forget"][0].id)
    assert set(row["answers"]) == {"before", "after"}
    assert row["scores"]["probability@forget"].keys() == {"before", "after"}
    assert "loss-attack@forget" in rows[-1]["scores"]
    assert "probability@forget" not in rows[-1]["scores"]
    assert rows[-1]["answers"] == {}


def test_changed_questions_are_one_subjects_own(store):
    judge = evaluator(store, [Probability(split="forget")])
    lm = tiny_lm()
    judge.measure("after", lm)
    judge.measure("attacked", lm, splits={"forget": [r.with_prompt(f"Say: {r.prompt}") for r in SPLITS["forget"]]})
    scores = judge.scores()
    assert scores["after"]["probability@forget"].value != scores["attacked"]["probability@forget"].value
    assert set(judge.samples()[0]["scores"]["probability@forget"]) == {"after"}


def test_conversations_and_missing_alternatives(store):
    turns = (Message("system", "Be brief."), Message("user", "Who is Ada?"))
    rows = [
        Example(turns, "Ada is a baker.", alternatives={"paraphrased_question": ("And Ada?",)}),
        Example("Who is Bo?", "Bo is a baker."),
    ]
    lm = tiny_lm()
    judge = evaluator(store, [Probability(split="forget", prompt="paraphrased_question")], {"forget": rows})
    judge.measure("after", lm)
    found = judge.scores()["after"]["probability@forget"]
    asked = Ask((turns[0], Message("user", "And Ada?")), "Ada is a baker.")
    assert found.per_example == {rows[0].id: pytest.approx(token_stats(lm, [asked], precision="fp32")[asked].p)}
    judge = evaluator(store, [TruthRatio(split="forget"), Probability(split="absent")], {"forget": rows})
    judge.measure("after", lm)
    assert not any(score.scored for score in judge.scores()["after"].values())


def test_bad_calls(store):
    with pytest.raises(PlanError, match="two metrics are called probability@forget"):
        evaluator(store, [Probability(split="forget"), Probability(split="forget", choices=True)])
    with pytest.raises(PlanError, match="nothing to measure"):
        evaluator(store).measure("after", fingerprint="abc")


def test_one_sweep_whatever_number_of_metrics(tmp_path):
    """TOFU's metrics all together: every distinct text goes through the model once, every prompt is answered once."""
    benchmark = PeopleSmall()
    judge = Evaluator(benchmark.splits(), benchmark.metrics(), store=Store(tmp_path))
    judge.measure("before", tiny_lm())
    effort = judge.effort("before")
    assert effort.forwards == effort.texts > 100
    assert effort.answers == effort.prompts > 20
    said = f"{effort.texts:,} texts × 1.0 forwards, {effort.prompts:,} prompts × 1.0 answers"
    assert str(effort) == said
    again = Evaluator(benchmark.splits(), benchmark.metrics(), store=Store(tmp_path))
    again.measure("before", tiny_lm())
    assert again.effort("before") == Effort() and str(again.effort("before")) == ""
    probed = Evaluator(benchmark.splits(), [Probability(), GradientNorm()], store=Store(tmp_path / "other"))
    probed.measure("before", tiny_lm())
    assert probed.effort("before").forwards > probed.effort("before").texts
