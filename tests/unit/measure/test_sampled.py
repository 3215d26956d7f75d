"""Sampled answers: the law they follow, and that nothing but seed, run, prompt and model decides about a text."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from unsay.data.example import Example
from unsay.errors import Interrupted, PlanError
from unsay.measure import sampled
from unsay.measure.evaluator import Evaluator
from unsay.measure.generations import first
from unsay.measure.sampled import Sampled, choose
from unsay.measure.texts import Draw
from unsay.metrics.kfr import KFR
from unsay.metrics.krr import KRR
from unsay.metrics.linguistic_score import LinguisticScore
from unsay.metrics.needs import Generations, Sampling
from unsay.metrics.relearn_harmonic import RelearnHarmonic
from unsay.metrics.rouge import Rouge
from unsay.models._tiny import tiny_lm
from unsay.runs.store import Store

PROMPTS = ["Who is Ada Quill?", "Where?", "", "What does Ada Quill keep in the garden behind the old mill?", "Why?"]
LOOSE = Sampling(temperature=1.5, top_p=0.95, top_k=0)
LAWS = [Sampling(), Sampling(top_k=0), Sampling(top_p=1.0, top_k=0, temperature=0.3), Sampling(top_p=0.5, top_k=20)]


def logits_of(lm, prompt):
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([lm.template.encode_prompt(prompt)])).logits[0, -1]


def law(logits, sampling):
    """[V] by the filters of another library."""
    scores = logits[None]
    filters = [TemperatureLogitsWarper(sampling.temperature)]
    filters += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    filters += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    for one in filters:
        scores = one(None, scores)
    return scores.double().softmax(-1)[0].numpy()


def ids_of(lm, draws, sampling, limit, **settings):
    found = {}
    for step in Sampled(lm, draws, sampling, limit, **settings).run("fp32"):
        assert not found.keys() & step.ids.keys()
        found |= step.ids
    return found


def peaked(lm):
    """`lm` with a sharper head: a random model knows no likeliest token."""
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(2)
    return lm


def silent(lm, prompt):
    """`lm` for which the likeliest first token of `prompt` ends the answer."""
    end = int(logits_of(lm, prompt).argmax())
    return dataclasses.replace(lm, template=dataclasses.replace(lm.template, end_ids=frozenset({end})))


@pytest.mark.parametrize("sampling", LAWS, ids=lambda s: f"{s.temperature}-{s.top_p}-{s.top_k}")
def test_frequencies_are_those_of_the_filtered_softmax(sampling):
    lm = peaked(tiny_lm())
    sampling = dataclasses.replace(sampling, retries=0)
    lm = dataclasses.replace(lm, template=dataclasses.replace(lm.template, end_ids=frozenset()))
    n = 1200
    found = ids_of(lm, [Draw("Where?", run) for run in range(n)], sampling, 1, rows=300)
    p = law(logits_of(lm, "Where?"), sampling)
    counts = np.bincount([ids[0] for ids in found.values()], minlength=len(p))
    assert not counts[p == 0].any(), "a token beyond the filters"
    often = p * n >= 5
    assert often.sum() >= 2
    seen, expected = [*counts[often], counts[~often].sum()], [*p[often] * n, p[~often].sum() * n]
    if expected[-1] < 5:  # too rare for a cell of its own
        seen[-2:], expected[-2:] = [sum(seen[-2:])], [sum(expected[-2:])]
    assert chisquare(seen, np.array(expected) * sum(seen) / sum(expected)).pvalue > 0.001


def test_a_number_falls_into_the_cumulative_probabilities():
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log().expand(5, -1)
    numbers = torch.tensor([0.0, 0.499, 0.501, 0.899, 0.999], dtype=torch.float64)
    plain = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    assert choose(logits, numbers, plain).tolist() == [1, 1, 2, 2, 0]
    assert choose(logits, numbers, dataclasses.replace(plain, top_k=1)).tolist() == [1] * 5
    assert choose(logits, numbers, dataclasses.replace(plain, top_p=0.49)).tolist() == [1] * 5
    assert choose(logits, numbers, dataclasses.replace(plain, top_p=0.51)).tolist() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_batches_and_order_change_nothing(rows):
    lm = tiny_lm(seed=3)
    draws = [Draw(p, run) for run in range(3) for p in PROMPTS]
    expected = ids_of(lm, draws, LOOSE, 10)
    assert len(set(expected.values())) > len(PROMPTS), "the runs of a prompt differ"
    random.Random(rows).shuffle(draws)
    assert ids_of(lm, draws, LOOSE, 10, rows=rows) == expected
    assert ids_of(lm, draws[:4], LOOSE, 10) == {d: expected[d] for d in draws[:4]}
    other = ids_of(lm, draws, dataclasses.replace(LOOSE, seed=1), 10)
    assert sum(other[d] != expected[d] for d in draws) > len(draws) / 2


def test_an_empty_answer_is_drawn_anew():
    lm = silent(peaked(tiny_lm()), "Where?")
    p = law(logits_of(lm, "Where?"), LOOSE)[next(iter(lm.template.end_ids))]
    draws = [Draw("Where?", run) for run in range(400)]
    empty = []
    for retries in (0, 1, 3):
        found = ids_of(lm, draws, dataclasses.replace(LOOSE, retries=retries), 2, rows=100)
        assert found.keys() == set(draws)
        empty.append(sum(not ids for ids in found.values()) / len(draws))
    assert p > 0.05
    for share, attempts in zip(empty, (1, 2, 4), strict=True):
        assert share == pytest.approx(p**attempts, abs=4 * math.sqrt(p**attempts / len(draws)) + 0.005)


def test_settings_without_a_meaning_are_refused():
    for wrong in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"runs": 0}, {"retries": -1}):
        with pytest.raises(PlanError, match=next(iter(wrong))):
            Sampling(**wrong)


ROWS = [Example(f"Where is {n}?", f"{n} is in Oslo.", meta={"entity": n}) for n in ("Ada", "Bo", "Cy")]
SPLITS = {"forget": ROWS, "retain": ROWS}
THREE = Sampling(temperature=1.5, top_k=0, top_p=0.95)


def metrics():
    words = {"judge": "lexical", "encoder": "lexical", "max_new_tokens": 6, "sampling": THREE}
    return (
        Rouge(max_new_tokens=6),
        Rouge(max_new_tokens=6, sampling=THREE, label="sampled-rouge"),
        KFR(**words),
        KRR(**words),
        RelearnHarmonic(**words),
    )


def judge_of(tmp_path):
    return Evaluator(SPLITS, metrics(), store=Store(tmp_path / "store"), precision="fp32")


def test_metrics_average_the_runs_of_a_row(tmp_path):
    lm = tiny_lm()
    judge = judge_of(tmp_path)
    judge.measure("after", lm)
    scores = judge.scores()["after"]
    need = Generations("forget", 6, sampling=THREE)
    texts = judge._subjects["after"].answers[need]
    assert all(len(of) == 3 for of in texts.values())
    again = ids_of(lm, [Draw(r.prompt, k) for k in range(3) for r in ROWS], THREE, 6)
    for row in ROWS:
        drawn = [first(lm, again[Draw(row.prompt, k)], 6) for k in range(3)]
        assert list(texts[row.id]) == drawn, "runs in order"
    for name in ("sampled-rouge@forget", "kfr@forget", "krr@retain", "relearn-harmonic@forget"):
        score = scores[name]
        assert {"run_1", "run_2", "run_3", "run_sd"} <= score.extra.keys(), name
        assert score.n == 3
        if not name.startswith("relearn"):
            runs = [score.extra[f"run_{k}"] for k in (1, 2, 3)]
            assert np.mean(runs) == pytest.approx(score.value)
            assert np.std(runs, ddof=1) == pytest.approx(score.extra["run_sd"])
    assert "run_sd" not in scores["rouge@forget"].extra
    shown = {s["id"]: s["answers"]["after"] for s in judge.samples() if s["split"] == "forget"}
    greedy = judge._subjects["after"].answers[Generations("forget", 6)]
    assert shown == {i: of[0] for i, of in greedy.items()}, "the page shows the greedy answer"


def test_what_was_drawn_is_kept(tmp_path):
    lm = tiny_lm()
    first = judge_of(tmp_path)
    first.measure("after", lm)
    again = judge_of(tmp_path)

    def refuse():
        raise AssertionError("nothing is missing: the model must not be loaded")

    again.measure("after", fingerprint=lm.fingerprint(), load=refuse)
    assert again.scores() == first.scores()


def test_an_interrupted_sweep_goes_on(tmp_path, monkeypatch):
    lm = tiny_lm()
    whole = judge_of(tmp_path / "whole")
    whole.measure("after", lm)
    monkeypatch.setattr(sampled, "ROWS", 2)
    usual, calls = Sampled.pick, []

    def stop(self, logits, keys, at):
        calls.append(at)
        if len(calls) == 9:
            raise Interrupted("stop")
        return usual(self, logits, keys, at)

    monkeypatch.setattr(Sampled.__init__, "__kwdefaults__", {"max_length": 1024, "rows": 2})
    monkeypatch.setattr(Sampled, "pick", stop)
    broken = judge_of(tmp_path / "broken")
    with pytest.raises(Interrupted):
        broken.measure("after", lm)
    before = len(calls)
    broken.measure("after", lm)
    assert len(calls) - before < 6 * 5, "what was finished is not drawn again"
    assert broken.scores() == whole.scores()


def test_linguistic_score_by_run():
    """Perplexities 2, 4, 8 in three runs; the second run of one row is empty and was not read."""
    from unsay.metrics.have import AnswerStats, Measurements

    metric = LinguisticScore(sampling=Sampling())
    written, judged = metric.needs
    texts = {"a": ("one two", "one two three", "one"), "b": ("four five", " ", "six")}

    def stats(text, ppl):
        logp = np.array([-np.log(ppl), -9.0])
        return AnswerStats(logp, np.zeros(2, np.int32), logp, logp, text)

    read = {
        "a": tuple(stats(t, p) for t, p in zip(texts["a"], (2, 4, 8), strict=True)),
        "b": (stats("four five", 2), stats("six", 8)),
    }
    rows = [Example("q", "a", id=i) for i in "ab"]
    found = metric.score(Measurements({"forget": rows}, {written: texts, judged: read}))
    singles = []
    for run in range(3):
        one = LinguisticScore()
        of = {"a": (texts["a"][run],), "b": (texts["b"][run],)}
        left = {i: tuple(s for s in read[i] if s.text == of[i][0]) for i in "ab"}
        singles.append(one.score(Measurements({"forget": rows}, dict(zip(one.needs, (of, left), strict=True)))).value)
    assert [found.extra[f"run_{k}"] for k in (1, 2, 3)] == pytest.approx(singles)
    assert found.extra["perplexity"] == pytest.approx(((2 + 4 + 8) / 3 + (2 + 8) / 2) / 2)
