"""The four plug-points on a training, and the other ways to bound one."""

import dataclasses
import json
import math

import pytest
import torch

from unsay.combiners._combiner import Combiner
from unsay.combiners.blur import Blur
from unsay.combiners.harmonise import Harmonise
from unsay.combiners.ramp import Ramp
from unsay.config.plan import Adapter, RecAdam, Train
from unsay.data.example import ForgetData
from unsay.errors import MethodError, NeedError
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.icu import ICU
from unsay.methods.idk import IDK
from unsay.methods.npo import NPO
from unsay.methods.rmu import RMU
from unsay.methods.sparse_delta import SparseDelta
from unsay.methods.sure import SURE, salient
from unsay.models.adapters import attach
from unsay.models.layers import head_is_plain
from unsay.runs.run import Run
from unsay.stops.early_out import EarlyOut
from unsay.stops.perplexity import Perplexity
from unsay.stops.utility import Utility
from unsay.testing import facts, knowing_lm, mean_nll, tiny_lm
from unsay.tokens.all import All
from unsay.tokens.entities import Entities
from unsay.tokens.lowest_loss import LowestLoss
from unsay.tokens.score import Score
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.recadam import fade
from unsay.training.scan import ModelWatch, answer_logps, scan
from unsay.training.schedule import Schedule
from unsay.training.step import View

BASE = Train(lr=1e-3, batch=4, micro_tokens=4096, epochs=3, precision="fp32", checkpoint_every=0)


def go(method, lm=None, *, data=None, run=None, **train):
    run = run or Run.temporary(dataclasses.replace(BASE, **train))
    return method.unlearn(lm or knowing_lm(), data or facts(), run)


def gap(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    return max(float((a[n].float() - t.float()).abs().max()) for n, t in b.items())


def events(run):
    return [json.loads(line) for line in (run.dir / "events.jsonl").read_text().splitlines()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Added(Combiner):
    """Plain addition, by way of two gradients."""

    apart = True

    def merge(self, forget, retain):
        for into, other in zip(retain, forget, strict=True):
            into.add_(other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("micro_tokens", [60, 4096])
def test_gradients_apart_add_up_to_those_together(precision, micro_tokens):
    """SGD, since Adam would blow up rounding."""
    found = []
    for combine in (None, Added()):
        method = GradDiff() if combine is None else GradDiff(combine=combine)
        extra = {"optim": "sgd"}
        found.append(
            go(method, lr=0.01, precision=precision, micro_tokens=micro_tokens, extra=extra, max_grad_norm=1e9)
        )
    moved = gap(found[0], knowing_lm())
    assert moved > 1e-4 and gap(*found) < (2e-3 if precision == "fp32" else 0.1) * moved


@pytest.mark.parametrize("combine", [Blur(), Harmonise(), Ramp()])
def test_every_combiner_forgets_and_says_the_angle(combine):
    run = Run.temporary(dataclasses.replace(BASE, epochs=6, lr=3e-3))
    after = go(NPO(combine=combine), run=run)
    assert mean_nll(after, facts().forget) > mean_nll(knowing_lm(), facts().forget) + 0.1
    assert all(("cosine" in e) == combine.apart for e in events(run) if "loss" in e)


def test_a_ramp_from_zero_takes_a_first_step_on_retain_alone():
    ramp = go(GradDiff(combine=Ramp()), max_steps=1)
    plain = go(FineTune(on="retain"), max_steps=1)
    assert gap(ramp, knowing_lm()) > 0
    assert mean_nll(ramp, facts().retain) < mean_nll(go(GradDiff(), max_steps=1), facts().retain)
    assert gap(plain, knowing_lm()) > 0


def test_weights_of_one_are_no_weights():
    ones = Entities(weight=1.0, other=1.0)
    assert gap(go(NPO(tokens=ones)), go(NPO(tokens=All()))) < 1e-6
    assert gap(go(GradDiff(tokens=LowestLoss(share=1.0))), go(GradDiff())) < 1e-5


def test_a_ratio_of_one_stays_one_under_weights():
    """NPO at θ0 is (2/β)·ln 2 whatever the tokens weigh: both sides of the ratio carry the same weights."""
    for tokens in (Entities(), LowestLoss(share=0.5)):
        run = Run.temporary(dataclasses.replace(BASE, max_steps=1))
        go(NPO(tokens=tokens, retain="none"), run=run)
        assert events(run)[0]["loss"] == pytest.approx(2 / 0.1 * math.log(2), rel=1e-4)


def test_token_weights_are_a_weighted_mean():
    lm = knowing_lm()
    rows = encode_rows(facts().forget, lm.template)
    weights = [torch.linspace(0, 1, row.answer_tokens).numpy() for row in rows]
    rows = [dataclasses.replace(row, weights=w) for row, w in zip(rows, weights, strict=True)]
    values = scan(lm.model, rows, lm.template.pad_id, answer_logps)
    view = View(Forward(lm.model, MicroBatch.of({"forget": rows}, 0), grad=False), "forget", Counts.of(rows))
    mass = sum(w.sum() for w in weights)
    expected = -sum(float((v * w).sum()) for v, w in zip(values, weights, strict=True)) / mass
    assert view.nll.item() == pytest.approx(expected, rel=1e-4)
    rest = sum(float((v * (1 - w)).sum()) for v, w in zip(values, weights, strict=True))
    count = sum(len(w) for w in weights) - mass
    assert view.rest_mean(view.token_logps[view.mask]).item() == pytest.approx(rest / count, rel=1e-4)


def test_tokens_of_a_role_that_is_not_there():
    with pytest.raises(MethodError, match="no forget answers"):
        go(IDK(tokens=Entities()))


def test_scores_by_a_model_that_never_saw_the_rows(tmp_path):
    tiny_lm().save(tmp_path / "base")
    after = go(GradDiff(tokens=Score(reference=str(tmp_path / "base"))), epochs=6, lr=3e-3)
    assert mean_nll(after, facts().forget) > mean_nll(knowing_lm(), facts().forget) + 0.1


def test_a_utility_floor_ends_a_training():
    run = Run.temporary(dataclasses.replace(BASE, epochs=40, lr=3e-3))
    go(GradAscent(stop=Utility(floor=0.9)), run=run)
    shares = [e["utility_share"] for e in events(run) if "utility_share" in e]
    assert shares[-1] < 0.9 and all(s >= 0.9 for s in shares[:-1])
    assert len([e for e in events(run) if "loss" in e]) == 2 * len(shares) < 80  # two steps an epoch
    assert any("stopped after" in note for note in run.manifest.notes)


def test_a_perplexity_ratio_that_is_never_reached_changes_nothing():
    assert gap(go(NPO(stop=Perplexity(ratio=1e9))), go(NPO())) == 0.0


def test_rows_rest_while_they_are_forgotten():
    run = Run.temporary(dataclasses.replace(BASE, epochs=30, lr=3e-3))
    go(GradAscent(stop=EarlyOut(below=0.5)), run=run)
    tokens = [e["tokens"] for e in events(run) if "loss" in e]
    resting = [e["resting"] for e in events(run) if "resting" in e]
    assert resting[-1] == len(facts().forget) and len(tokens) < 60
    late = [n for n in resting if 0 < n < len(facts().forget)]
    assert not late or min(tokens) < max(tokens)


def test_resting_rows_are_left_out_of_the_batches():
    lm = knowing_lm()
    rows = {"forget": encode_rows(facts().forget, lm.template), "retain": encode_rows(facts().retain, lm.template)}
    schedule = Schedule(rows, seed=0, batch=3, micro_tokens=4096, epochs=2, pad_id=0)
    keys = {row.key for row in rows["forget"][:6]}
    for resting in (set(range(6)), set(range(1, 8))):
        schedule.resting = frozenset(resting)
        seen = [k for at in range(3) for m in schedule[at].micros for k in m.keys[m.roles["forget"]]]
        awake = {row.key for i, row in enumerate(rows["forget"]) if i not in resting}
        assert set(seen) == awake and len(seen) >= 3
    assert keys


def test_extraction_strength_by_one_forward():
    """Against greedy comparison of every answer token, counted from the end."""
    lm = knowing_lm()
    rows = encode_rows([*facts().forget, *facts().holdout], lm.template)
    found = ModelWatch(lm.model, {"forget": rows}, lm.template.pad_id, 0).extraction_strength("forget")
    for row, strength in zip(rows, found, strict=True):
        with torch.no_grad():
            best = lm.model(input_ids=torch.tensor([row.tokens.input_ids])).logits[0].argmax(-1)
        hits = [best[t - 1] == row.tokens.input_ids[t] for t in range(row.tokens.answer_start, row.length)]
        run = next((i for i, hit in enumerate(reversed(hits)) if not hit), len(hits))
        assert strength == pytest.approx(run / len(hits))
    assert max(found) == 1.0 and min(found) < 0.5


def test_nothing_to_watch():
    data = ForgetData(forget=facts().forget)
    with pytest.raises(MethodError, match="utility rows to watch"):
        go(GradAscent(stop=Utility()), data=data)


def test_no_layer_above_the_one_steered_is_run():
    lm = knowing_lm()
    ran = []
    subject = lm.fork()
    for number, layer in enumerate(subject.model.model.layers):
        layer.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    batch = MicroBatch.of({"forget": encode_rows(facts().forget, lm.template)}, 0)
    head_is_plain(subject.model)  # which is found out by running all of it, once
    ran.clear()
    view = View(Forward(subject.model, batch, ("0",), shallow=True), "forget", Counts())
    whole = View(Forward(lm.model, batch, ("0",)), "forget", Counts())
    at = whole.mask.nonzero(as_tuple=True)
    assert torch.equal(view.hidden("0")[at], whole.hidden("0")[at])
    assert ran == [0]
    with pytest.raises(NeedError, match="more than the layers"):
        _ = view.nll
    with pytest.raises(MethodError, match="no decoder layer 7"):
        go(RMU(layer="7"))


def test_sure_leaves_rows_outside_the_mask_alone():
    lm = knowing_lm()
    after = go(SURE(quantile=0.9), lr=3e-3, weight_decay=0.5)
    changed = total = 0
    for old, new in zip(lm.model.parameters(), after.model.parameters(), strict=True):
        rows = (old != new).reshape(len(old), -1).any(1)
        changed, total = changed + int(rows.sum()), total + len(rows)
    assert 0.05 * total < changed <= math.ceil(0.1 * total) + 1
    mask = salient({"a": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "b": torch.tensor([1.0, 6.0])}, 0.5)
    assert {n: m.tolist() for n, m in mask.items()} == {"a": [True, False], "b": [False, True]}


def test_sparse_delta_changes_few_weights_exactly():
    run = Run.temporary(dataclasses.replace(BASE, epochs=6, lr=3e-3))
    dense, sparse = go(NPO(), epochs=6, lr=3e-3), go(SparseDelta(strength=0.9), run=run)
    old = dict(knowing_lm().model.named_parameters())
    shares = []
    for lm in (dense, sparse):
        new = dict(lm.model.named_parameters())
        shares.append(sum(int((new[n] != p).sum()) for n, p in old.items()) / sum(p.numel() for p in old.values()))
    assert shares[1] < 0.6 * shares[0]
    assert events(run)[-1]["changed"] == pytest.approx(shares[1])


def test_recadam_pulls_back_while_young():
    """λ = 1/2 at the midpoint; with a strong pull and no annealing yet, the weights hardly move."""
    assert fade(0.25, RecAdam()) == 0.5 and fade(1.0, RecAdam()) > 0.99
    held = go(GradDiff(), recadam=RecAdam(pull=1.0 / BASE.lr, midpoint=2.0))
    free = go(GradDiff(), recadam=RecAdam(pull=0.0, midpoint=-2.0), weight_decay=0.0)
    plain = go(GradDiff(), weight_decay=0.0)
    assert gap(held, knowing_lm()) < 0.05 * gap(free, knowing_lm())
    assert gap(free, plain) < 1e-4  # λ is 1 and nothing pulls: Adam


def test_neighbours_come_from_the_retain_rows():
    data = facts()
    roles = ICU().roles(data, Run.temporary(BASE))
    assert all(row in data.retain for row in roles["neighbour"]) and len(roles["neighbour"]) == len(data.forget)
    thing = [[row.prompt.split("'s ")[1] for row in roles[role]] for role in ("forget", "neighbour")]
    assert sum(a == b for a, b in zip(*thing, strict=True)) >= 6  # "Ada's cat?" is next to somebody else's cat


def test_plugs_on_an_adapter():
    lm = attach(knowing_lm(), Adapter(rank=4))
    after = go(NPO(combine=Blur(), stop=EarlyOut(), tokens=Entities()), lm, epochs=4, lr=1e-2)
    assert gap(after, lm) > 1e-4
    assert all("lora_" in n for n, p in after.model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_epoch_shows_the_weights_and_changes_nothing(precision):
    seen = {}
    base = Run.temporary(dataclasses.replace(BASE, precision=precision))
    run = base.sub("watched", each_epoch=lambda epoch, now: seen.setdefault(epoch, now()))
    lm = knowing_lm()
    watched, plain = go(NPO(), lm, run=run), go(NPO(), lm, precision=precision)
    assert list(seen) == [1, 2, 3]
    assert gap(watched, plain) == 0
    assert gap(seen[3], watched) == 0
    assert gap(seen[1], lm) > 0
    assert gap(seen[1], seen[2]) > 0
    assert seen[1].attention == lm.attention
