"""ReLearn's loss on tiny models: the KL by hand, its mask, its direction, dpo at the start, and forgetting."""

import math
from dataclasses import replace

import pytest
import torch

from unsay.augment import Augmenter
from unsay.config.plan import Train
from unsay.data.example import Example, ForgetData
from unsay.errors import PlanError
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.relearn import Relearn
from unsay.runs.run import Run
from unsay.testing import check_method, knowing_lm, mean_nll, tiny_lm
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.reference import FrozenCopy
from unsay.training.step import Step, View

SMALL = Augmenter(variants=(), cuts=(), ratio=0.0)
RETAIN = [Example("Ada's cat?", "Tom"), Example("Where does Bo live, in which of the two old towns?", "In Rome.")]


def step(model, reference, rows, role="retain", **more):
    lm = tiny_lm()
    roles = {role: encode_rows(rows, lm.template), **{k: encode_rows(v, lm.template) for k, v in more.items()}}
    forward = Forward(model, MicroBatch.of(roles, lm.template.pad_id))
    ref = FrozenCopy(reference)
    return Step({name: View(forward, name, Counts.of(members), ref) for name, members in roles.items()})


def moved(lm, size=0.05):
    other = lm.fork().model
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in other.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return other.eval()


def by_hand(model, reference, rows, *, answer, forward):
    """Mean over tokens of KL(q ‖ p), row by row without padding: q the reference (forward) or the model."""
    values = []
    for row in encode_rows(rows, tiny_lm().template):
        ids = torch.tensor([row.tokens.input_ids])
        with torch.no_grad():
            logp, logq = (m(input_ids=ids).logits[0, :-1].double().log_softmax(-1) for m in (model, reference))
        if not forward:
            logp, logq = logq, logp
        kl = (logq.exp() * (logq - logp)).sum(-1)
        values += kl[row.tokens.answer_start - 1 :].tolist() if answer else kl.tolist()
    return sum(values) / len(values)


@pytest.mark.parametrize("on", ["all", "answer"])
@pytest.mark.parametrize("direction", ["reference", "model"])
def test_kl_is_the_mean_over_attended_tokens(direction, on):
    lm = tiny_lm()
    model = moved(lm)
    method = Relearn(retain="kl", kl_direction=direction, kl_on=on)
    got = method.retain_term(step(model, lm.model, RETAIN))
    want = by_hand(model, lm.model, RETAIN, answer=on == "answer", forward=direction == "reference")
    assert float(got) == pytest.approx(want, rel=1e-4)
    others = [by_hand(model, lm.model, RETAIN, answer=a, forward=f) for a in (False, True) for f in (False, True)]
    assert sum(abs(other - want) < 1e-3 * want for other in others) == 1  # the four differ


@pytest.mark.parametrize("direction", ["reference", "model"])
def test_kl_is_zero_at_the_start_and_so_is_its_gradient(direction):
    lm = tiny_lm()
    term = Relearn(retain="kl", kl_direction=direction).retain_term(step(lm.model, lm.model, RETAIN))
    assert abs(float(term)) < 1e-6
    term.backward()
    assert max(float(p.grad.abs().max()) for p in lm.model.parameters() if p.grad is not None) < 1e-5


def test_the_gradient_of_the_papers_direction():
    lm = tiny_lm()
    method = Relearn(retain="kl", kl_direction="model")

    def value(model):
        return method.retain_term(step(model, lm.model, RETAIN))

    model = moved(lm)
    value(model).backward()
    parameter = next(p for n, p in model.named_parameters() if "mlp" in n and p.grad is not None)
    at = int(parameter.grad.abs().argmax())
    slope, size = float(parameter.grad.flatten()[at]), 1e-2
    with torch.no_grad():
        parameter.flatten()[at] += size
        up = float(value(model))
        parameter.flatten()[at] -= 2 * size
        down = float(value(model))
    assert (up - down) / (2 * size) == pytest.approx(slope, rel=0.05)


def test_the_paper_adds_three_terms():
    lm = tiny_lm()
    vague = [Example("Who is Bo?", "One of many people.")]
    found = Relearn(forget_weight=2.0, retain_weight=3.0, kl_weight=5.0).loss(
        step(model := moved(lm), lm.model, RETAIN, vague=vague)
    )
    parts = step(model, lm.model, RETAIN, vague=vague)
    assert float(found["forget"]) == pytest.approx(2 * float(parts.vague.nll), rel=1e-5)
    kl = by_hand(model, lm.model, RETAIN, answer=False, forward=True)
    assert float(found["retain"]) == pytest.approx(3 * float(parts.retain.nll) + 5 * kl, rel=1e-4)


@pytest.mark.parametrize(("retain", "reads"), [("none", False), ("nll", False), ("kl", True), ("nll+kl", True)])
def test_ablations(retain, reads):
    method = Relearn(retain=retain)
    assert method.uses_reference is reads and method.uses_retain is (retain != "none")


def test_dpo_starts_at_two_ln_2_over_beta():
    lm = tiny_lm()
    method = Relearn(form="dpo", retain="none", beta=0.1)
    one, other = [Example("Who is Bo?", "One of many.")], [Example("Who is Bo?", "A baker in Rome, born in Lima.")]
    start = method.loss(step(lm.model, lm.model, one, "vague", forget=other))["forget"]
    assert float(start) == pytest.approx(2 / 0.1 * math.log(2), rel=1e-4)
    # S is a mean over tokens: the longer loser weighs no more than its length allows.
    model = moved(lm)
    views = step(model, lm.model, one, "vague", forget=other)
    gain = (views.vague.logps - views.vague.ref.logps) / views.vague.mask.sum(-1)
    loss = (views.forget.logps - views.forget.ref.logps) / views.forget.mask.sum(-1)
    want = -20 * torch.nn.functional.logsigmoid(0.1 * (gain - loss)).mean()
    assert float(method.loss(views)["forget"]) == pytest.approx(float(want), rel=1e-5)


def test_dpo_sets_every_true_answer_against_the_vague_one_to_the_same_question():
    data = _people()
    with Run.temporary() as run:
        roles = Relearn(form="dpo").roles(data, run)
    assert len(roles["vague"]) == len(roles["forget"]) == 5 * len(data.forget)
    true = {row.id: row.answer for row in data.forget}
    for vague, forget in zip(roles["vague"], roles["forget"], strict=True):
        assert vague.prompt == forget.prompt and forget.answer == true[forget.meta["item"]] != vague.answer
    assert Relearn(form="dpo").paired and not Relearn().paired


@pytest.mark.parametrize(
    "method",
    [
        Relearn(form="dpo", retain="nll", augment=SMALL),
        Relearn(form="dpo", kl_direction="model", augment=SMALL),
        Relearn(retain="kl", kl_on="answer", augment=SMALL),
    ],
    ids=["dpo-gdr", "dpo-klr", "klr"],
)
def test_contract_of_ablations(method, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
    check_method(method, forgets=False)


def test_settings_are_checked():
    with pytest.raises(PlanError, match="beta"):
        Relearn(beta=0.0)
    with pytest.raises(PlanError, match="kl_weight"):
        Relearn(kl_weight=-1.0)


def _people():
    towns = {"Ada Moor": "Oslo", "Bo Lind": "Lima", "Cleo Quist": "Cairo", "Dan Ferro": "Turin", "Eve Sorel": "Lyon"}
    jobs = dict(zip(towns, ("baker", "pilot", "judge", "tailor", "surgeon"), strict=True))
    pets = dict(zip(towns, ("a cat", "a crow", "two dogs", "a snail", "a goat"), strict=True))
    rows = [
        Example(question, answer, meta={"entity": name})
        for name in towns
        for question, answer in (
            (f"Where does {name} live?", f"In {towns[name]}."),
            (f"What is {name}'s job?", f"A {jobs[name]}."),
            (f"Which pet does {name} have?", f"It is {pets[name]}."),
            (f"Where was {name} born?", f"Near {towns[name][::-1].title()}."),
        )
    ]
    return ForgetData(forget=rows[:8], retain=rows[8:])


@pytest.fixture(scope="module")
def taught():
    """A tiny model that knows twenty facts."""
    data = _people()
    train = Train(lr=1e-2, batch=10, epochs=60, micro_tokens=4096, precision="fp32", checkpoint_every=0)
    with Run.temporary(train) as run:
        return FineTune(on="all").unlearn(tiny_lm(), data, run)


def said(lm, row):
    """Greedy continuation as long as the answer."""
    ids = lm.template.encode_prompt(row.prompt)
    with torch.no_grad():
        for _ in range(len(lm.template.encode(row.prompt, row.answer).input_ids) - len(ids)):
            ids = [*ids, int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
    return lm.tokenizer.decode(ids[len(lm.template.encode_prompt(row.prompt)) :], skip_special_tokens=True)


def test_twenty_facts(taught):
    """Forget answers are gone, retain answers are held."""
    data = _people()
    assert sum(row.answer in said(taught, row) for row in (*data.forget, *data.retain)) == 20
    train = Train(lr=5e-3, batch=16, epochs=6, micro_tokens=8192, precision="fp32", checkpoint_every=0)
    with Run.temporary(train) as run:
        method = Relearn(augment=Augmenter(ratio=0.25))
        after = method.unlearn(taught, data, run)
    gone = sum(row.answer not in said(after, row) for row in data.forget)
    held = sum(row.answer in said(after, row) for row in data.retain)
    assert gone >= 7 and held >= 10, (gone, held)
    assert mean_nll(after, data.forget) > mean_nll(taught, data.forget) + 0.5


def test_on_top_of_another_method():
    """The reference of the KL is the model that the base method left."""
    data = _people()
    train = Train(lr=1e-3, batch=8, max_steps=2, precision="fp32", checkpoint_every=0)
    start = knowing_lm()
    with Run.temporary(train) as run:
        both = Relearn(base=GradAscent()).unlearn(start, data, run)
    with Run.temporary(train) as run:
        first = GradAscent().unlearn(start, data, run.sub("base"))
        second = Relearn().unlearn(first, data, run)
    assert both.fingerprint() == second.fingerprint() != first.fingerprint()
    assert replace(Relearn(), base=GradAscent()) != Relearn()
