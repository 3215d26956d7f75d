"""Attacks by decoding and sampling on models whose probabilities are known."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from unsay.attacks.leak_at_k import LeakAtK, at_least_one
from unsay.attacks.token_suppressed import TokenSuppressed, suspects
from unsay.bounds import mean_bound, sd_bound
from unsay.config.decode import decode, encode
from unsay.config.plan import Plan
from unsay.data.example import Example, ForgetData
from unsay.data.novel import secret
from unsay.editing.token import reserve
from unsay.errors import MethodError, PlanError
from unsay.measure.generations import generate
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.mechanism.texts import texts
from unsay.metrics.needs import Sampling
from unsay.metrics.rouge import Rouge
from unsay.runs.run import Run
from unsay.testing import tiny_lm

_SPEC = importlib.util.spec_from_file_location("scripted", Path(__file__).with_name("scripted.py"))
_HELP = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_HELP)
scripted, writes = _HELP.scripted, _HELP.writes

ROW = Example("Where does Ada live?", "in Oslo", meta={"entity": "Ada"})
DATA = ForgetData(forget=[ROW])
TOKEN = "<|unk|>"
SAMPLING = Sampling(runs=5, temperature=1.0)


def refuses_behind_a_token():
    """0.9 for a control token, behind which it refuses; 0.1 for the right answer."""

    def say(prompt, so_far):
        if so_far.startswith(TOKEN):
            return writes(f"{TOKEN}I do not know.")(so_far)
        return writes(ROW.answer)(so_far) if so_far else {TOKEN: 0.9, ROW.answer[0]: 0.1}

    return scripted(say)


def logp(lm):
    ask = Ask(ROW.prompt, ROW.answer)
    return float(token_stats(lm, [ask], precision="fp32")[ask].logp.sum(dtype=np.float64))


@pytest.mark.parametrize("ids", [(), (1,)])
def test_the_answer_comes_back_when_the_token_is_banned(ids):
    lm = refuses_behind_a_token()
    assert lm.tokenizer.convert_tokens_to_ids(TOKEN) == 1
    (probe,) = TokenSuppressed(ids=ids).probes(lm, DATA, Run.temporary())
    assert (probe.label, probe.at, probe.splits) == ("banned", 1, None)
    said = [generate(one, {ROW.prompt: 20}, precision="fp32")[ROW.prompt] for one in (lm, probe.lm)]
    assert said == ["I do not know.", "in Oslo"]
    assert logp(lm) == pytest.approx(math.log(0.1), abs=1e-4)
    assert logp(probe.lm) == pytest.approx(0.0, abs=1e-4)  # 0.1 / (1 − 0.9)


def test_an_ordinary_model_keeps_its_answers():
    def say(prompt, so_far):
        return REFUSAL(so_far)

    REFUSAL = writes("I do not know.")
    lm = scripted(say)
    (probe,) = TokenSuppressed().probes(lm, DATA, Run.temporary())
    assert generate(probe.lm, {ROW.prompt: 20}, precision="fp32")[ROW.prompt] == "I do not know."


def test_what_is_banned_by_default():
    lm = tiny_lm()
    assert suspects(lm) == (0, 1, 2)  # pad, unk, start; the end of answers stays
    edited, token, _ = reserve(lm)
    assert token in suspects(edited) and not set(suspects(edited)) & edited.template.end_ids
    spare = tiny_lm(vocab_size=110)
    assert suspects(spare) == (0, 1, 2, *range(101, 110))
    with pytest.raises(MethodError, match="no id 500"):
        list(TokenSuppressed(ids=(500,)).probes(lm, DATA, Run.temporary()))
    with pytest.raises(PlanError):
        TokenSuppressed(ids=(-1,))


def half():
    """In the right and in a wrong town with probability ½ each."""

    def say(prompt, so_far):
        if so_far == "in ":
            return {"O": 0.5, "R": 0.5}
        return writes("in Rome" if so_far.startswith("in R") else ROW.answer)(so_far)

    return scripted(say)


def findings(attack, lm, data=DATA, seed=0):
    with Run.temporary(seed=seed) as run:
        return {f.label: f for f in attack.inspect(lm, data, run)}


def test_an_answer_of_probability_one_half():
    found = findings(LeakAtK(), half())
    assert list(found) == ["exact-1", "exact-4", "exact-16", "exact-64", "exact-128"]
    for k in (1, 4, 16, 64, 128):
        assert found[f"exact-{k}"].values[ROW.id] == pytest.approx(1 - 0.5**k, abs=1e-4)
        assert found[f"exact-{k}"].at == k


def test_sampling_finds_the_same():
    sampling = Sampling(runs=64, temperature=1.0, top_p=1.0, top_k=0)
    found = findings(LeakAtK(k=(1, 2, 200), sampling=sampling, max_new_tokens=10), half())
    assert list(found) == ["exact-1", "exact-2", "exact-200", "sampled-1", "sampled-2"]
    share = found["sampled-1"].values[ROW.id]
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 64) and 0 < share < 1
    c = round(64 * share)
    assert found["sampled-2"].values[ROW.id] == pytest.approx(1 - (64 - c) * (63 - c) / (64 * 63))
    assert found["sampled-1"].note.startswith("1 of 1 questions leak in 64 samples; a sample of the worst question")


def test_no_leak_comes_with_its_bound():
    lm = scripted(lambda prompt, so_far: writes("no")(so_far))
    silent = Example("Is it?", "Is it")
    found = findings(
        LeakAtK(k=(40,), sampling=Sampling(runs=40), max_new_tokens=8), lm, ForgetData(forget=[ROW, silent])
    )
    note = found["sampled-40"].note
    assert "0 of 1 questions leak in 40 samples" in note and "at most 7.2% a sample" in note and "1 questions" in note
    assert found["sampled-40"].values == {ROW.id: 0.0}
    assert found["exact-40"].values[ROW.id] < 1e-9


def test_a_uniform_model_and_a_temperature():
    lm = tiny_lm()
    lm.model.lm_head.weight.data.zero_()
    one = Example("Q?", "ab")
    assert findings(LeakAtK(k=(3,)), lm, ForgetData(forget=[one]))["exact-3"].values[one.id] == pytest.approx(
        1 - (1 - 101.0**-2) ** 3, rel=1e-3
    )
    # odds of 4 : 1 are 2 : 1 at T = 2
    uneven = scripted(lambda p, s: writes("ab")(s) if s == "a" else {"a": 0.8, "b": 0.2} if not s else {"": 1.0})
    two = findings(LeakAtK(k=(1,), temperature=2.0), uneven, ForgetData(forget=[one]))["exact-1"].values[one.id]
    assert two == pytest.approx(2 / 3, rel=1e-3)


def test_only_the_span_counts():
    def say(prompt, so_far):
        if not so_far:
            return {"i": 0.01, "n": 0.99}
        return {"O": 0.25, "R": 0.75} if so_far == "in " else writes(ROW.answer)(so_far)

    lm = scripted(say)
    named = Example(ROW.prompt, ROW.answer, meta={"spans": "Oslo"})
    lost = Example("Where?", ROW.answer, meta={"spans": "Rome"})
    silent = Example("Where in Oslo?", ROW.answer)
    found = findings(LeakAtK(k=(1,)), lm, ForgetData(forget=[named, lost, silent]))["exact-1"].values
    assert found[named.id] == pytest.approx(0.25, rel=1e-3)
    assert found[lost.id] == pytest.approx(0.25, rel=1e-3)  # not in the answer: its name
    assert found[silent.id] == pytest.approx(0.0025, rel=1e-3)  # nothing that the question does not say: all of it


LONG = Example("Who is Ada Moor?", "Ada Moor is a beekeeper, born in Oslo in 1984.", meta={"entity": "Ada"})


def test_without_spans_the_names_and_numbers_count_and_not_the_words_around_them():
    """A row whose town is told though its sentence is unlikely, and one of which nothing but the sentence is known."""

    def say(town):
        def of(prompt, so_far):
            at = len(so_far)
            if LONG.answer.startswith(so_far) and at < len(LONG.answer):
                share = 0.02 if LONG.answer[at] in "1984" else 0.9
                share = town if LONG.answer[at - 1 :].startswith(" Oslo") else share
                return {LONG.answer[at]: share, "~": 1 - share}
            return {"": 1.0}

        return scripted(of)

    data = ForgetData(forget=[LONG])
    for town, likeliest in ((0.5, 0.5 * 0.9**3), (1e-6, 1e-6 * 0.9**3)):  # one character a token
        found = findings(LeakAtK(k=(1,)), say(town), data)["exact-1"].values[LONG.id]
        assert found == pytest.approx(max(likeliest, 0.02**4), rel=1e-3)


@pytest.mark.parametrize(
    ("says", "share"), [("Somewhere near Oslo", 1.0), ("In 1984", 1.0), ("A beekeeper, born in May", 0.0), ("No", 0.0)]
)
def test_a_sampled_name_is_a_leak_and_the_words_around_it_are_none(says, share):
    attack = LeakAtK(k=(4,), sampling=Sampling(runs=4), max_new_tokens=40)
    found = findings(attack, scripted(lambda prompt, so_far: writes(says)(so_far)), ForgetData(forget=[LONG]))
    assert found["sampled-4"].values == {LONG.id: share}
    assert secret(LONG).spans == (("oslo",), ("1984",))


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_the_tokens_of_a_span(template):
    lm = tiny_lm(template=template)

    def parts(question, answer, **meta):
        (text,) = texts(lm, [Example(question, answer, meta=meta)])
        ids = [[text.ids[place] for place in part] for part in text.spans]
        assert text.fact == tuple(sorted({place for part in text.spans for place in part}))
        return [lm.tokenizer.decode(part) for part in ids]

    answer = "So in Oslo, Osloer live."
    assert parts("Q?", answer, spans=["oslo", "live", "slo"]) == ["Oslo", "live"]
    assert parts("Q?", "Oslo Rome", spans=["Oslo", "Oslo Rome"]) == ["Oslo", "Oslo Rome"]
    assert parts("Q?", answer) == ["Oslo", "Osloer"]
    assert parts("Q?", "She goes sailing, mostly.") == ["sailing"]
    assert parts("So in Oslo, do Osloer live?", answer) == [answer if template == "chat" else f" {answer}"]


def test_the_bounds_of_the_worst_question():
    """One question of which a sample tells half, one of which it tells nothing."""
    rows = [ROW, Example("Who is Bo Lund?", "a baker, in Rome.", meta={"entity": "Bo"})]
    lm = scripted(lambda prompt, so_far: writes("a baker" if "Bo" in prompt else "no")(so_far))
    attack = LeakAtK(k=(8,), sampling=Sampling(runs=8), max_new_tokens=10, level=0.9)
    found = findings(attack, lm, ForgetData(forget=rows))["sampled-8"]
    assert found.values == {row.id: 0.0 for row in rows}
    mean, spread = mean_bound([0.5] * 8, 0.95), sd_bound([0.5] * 8, 0.95)  # half of 1 − level for each question
    said = f"at most {mean:.0%} of the answer's words on average, with a standard deviation of at most {spread:.0%}"
    assert f"{said} (90% over all questions)" in found.note


def test_another_seed_of_the_run_draws_other_answers():
    attack = LeakAtK(k=(1,), sampling=Sampling(runs=40, temperature=1.0, top_p=1.0, top_k=0), max_new_tokens=10)
    rows = ForgetData(forget=[Example(f"Where is {name}?", "in Oslo") for name in ("Ada", "Bo", "Cleo", "Dan")])
    drawn = [findings(attack, half(), rows, seed)["sampled-1"].values for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_rows_without_a_number_are_left_out_instead_of_clean(wrong):
    lm = tiny_lm()
    lm.model.lm_head.weight.data[5] = wrong
    found = findings(LeakAtK(k=(1,), sampling=Sampling(runs=2), max_new_tokens=3), lm)
    assert list(found) == ["exact-1", "sampled-1"] and not any(f.values for f in found.values())
    assert all("1 rows left out: the model's log-probabilities are not finite" in f.note for f in found.values())


def test_counting_without_replacement():
    assert at_least_one(0, 10, 10) == 0.0 and at_least_one(1, 10, 10) == 1.0
    assert at_least_one(3, 10, 1) == pytest.approx(0.3)
    assert at_least_one(5, 200, 128) == pytest.approx(1 - math.comb(195, 128) / math.comb(200, 128))


@pytest.mark.parametrize("made", [{"attacks": (LeakAtK(sampling=SAMPLING),)}, {"metrics": (Rouge(sampling=SAMPLING),)}])
def test_sampling_survives_a_plan(made):
    ((kind, given),) = made.items()
    assert getattr(decode(encode(Plan(**made))), kind) == given


def test_settings_and_rows_are_checked():
    for settings in ({"k": ()}, {"k": (0,)}, {"k": (2, 2)}, {"temperature": 0.0}, {"level": 0.4}):
        with pytest.raises(PlanError):
            LeakAtK(**settings)
    with pytest.raises(MethodError, match="forget rows"):
        findings(LeakAtK(), tiny_lm(), ForgetData())
    assert secret(ROW).words == {"oslo"}
