"""What must not change a training: splits, padding, order, the form of the reference, interruptions, earlier use."""

import dataclasses
import json
import random

import pytest
import torch

from unsay.combiners.blur import Blur
from unsay.combiners.dual import Dual
from unsay.config.plan import Adapter, DataSpec, Plan, RecAdam, Train
from unsay.data.example import ForgetData
from unsay.errors import CollapseError, DataError, Interrupted, MethodError, PlanError, RunError
from unsay.methods.adaptive_rmu import AdaptiveRMU
from unsay.methods.alt_po import AltPO
from unsay.methods.ce_u import CEU
from unsay.methods.dpo import DPO
from unsay.methods.dto import DTO
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.methods.grad_diff import GradDiff
from unsay.methods.icu import ICU
from unsay.methods.idk_ap import IDKAP
from unsay.methods.kl_min import KLMin
from unsay.methods.max_entropy import MaxEntropy
from unsay.methods.npo import NPO
from unsay.methods.pdu import PDU
from unsay.methods.rmu import RMU
from unsay.methods.sat_imp import SatImp
from unsay.methods.undial import UNDIAL
from unsay.methods.wga import WGA
from unsay.models.adapters import attach
from unsay.runs.run import Run
from unsay.runs.store import Store
from unsay.stops.early_out import EarlyOut
from unsay.testing import facts, knowing_lm
from unsay.tokens.delta import Delta
from unsay.tokens.entities import Entities
from unsay.tokens.lowest_loss import LowestLoss
from unsay.training.batch import MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.gradient import weighed
from unsay.training.guide import Guide
from unsay.training.reference import FrozenCopy
from unsay.training.schedule import Schedule
from unsay.training.step import Step, View

BASE = Train(lr=1e-3, batch=6, micro_tokens=4096, epochs=3, precision="fp32", checkpoint_every=0)
OBJECTIVES = [
    *(GradAscent(), GradDiff(), KLMin(), NPO(), NPO(retain="kl"), NPO(retain="hidden"), FineTune(on="all")),
    *(UNDIAL(), CEU(), WGA(), SatImp(), PDU(), MaxEntropy(), DTO(), ICU()),
    *(IDKAP(), DPO(), AltPO(), RMU(layer="1"), AdaptiveRMU(layer="1"), AdaptiveRMU(layer="1", retain="kl")),
    *(GradDiff(tokens=Entities()), NPO(tokens=LowestLoss(share=0.5)), NPO(tokens=Delta(), retain="kl")),
]


def ids(method):
    kept, tokens = getattr(method, "retain", ""), type(getattr(method, "tokens", None)).__name__
    return f"{type(method).__name__}-{kept}-{tokens}"


def go(method, lm=None, *, run=None, data=None, **train):
    lm = lm or knowing_lm()
    run = run or Run.temporary(dataclasses.replace(BASE, **train))
    return method.unlearn(lm, data or facts(), run)


def gap(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    return max(float((a[n].float() - t.float()).abs().max()) for n, t in b.items())


def losses(run):
    file = run.dir / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("method", OBJECTIVES, ids=ids)
def test_gradient_of_a_split_batch_is_that_of_the_whole(method):
    """Loss and gradient, not weights: Adam would turn rounding of a zero gradient into a step."""
    lm, run = knowing_lm(), Run.temporary(BASE)
    roles = method.roles(facts(), run)
    rows = {role: encode_rows(members, lm.template) for role, members in roles.items()}
    plugs = method.plugs(lm, facts(), run)
    rows = weighed(rows, roles, plugs, lm, lm.model, run)
    reweigh = plugs.tokens.now if plugs.tokens.dynamic else None
    found = []
    for budget in (10_000, 60):
        schedule = Schedule(
            rows, seed=0, batch=6, micro_tokens=budget, epochs=1, pad_id=lm.template.pad_id, paired=method.paired
        )
        batch = schedule[0]
        subject = knowing_lm().fork()
        with torch.no_grad():
            for number, parameter in enumerate(subject.model.parameters()):
                parameter.add_(0.05 * torch.sin(torch.arange(parameter.numel()) + number).view_as(parameter))
        seen = {"layers": method.layers, "shallow": method.shallow}
        reference = FrozenCopy(lm.fork().model, **seen) if method.uses_reference else None
        total = 0.0
        for micro in batch.micros:
            forward = Forward(subject.model, micro, **seen)
            step = Step(
                {
                    role: View(forward, role, batch.counts[role], reference, reweigh if role == "forget" else None)
                    for role in micro.roles
                }
            )
            terms = method.loss(step)
            loss = sum(terms.values()) if isinstance(terms, dict) else terms
            loss.backward()
            total += loss.item()
        found.append((len(batch.micros), total, {n: p.grad for n, p in subject.model.named_parameters()}))
    (one, whole, gradient), (several, split, summed) = found
    assert one <= 2 and several >= 3
    gradient = {name: value for name, value in gradient.items() if value is not None}
    assert split == pytest.approx(whole, rel=1e-5)
    scale = max(float(g.abs().max()) for g in gradient.values())
    for name, value in gradient.items():
        assert torch.allclose(summed[name], value, rtol=1e-4, atol=2e-6 * scale), name


def test_padding_and_its_token_change_nothing():
    """Longer padding, and padding with a token that answers use, give the same numbers."""
    lm = knowing_lm()
    rows = encode_rows(facts().forget, lm.template)
    long = encode_rows([dataclasses.replace(facts().retain[0], answer="x" * 60)], lm.template)
    end = lm.template.encode("a", "b").input_ids[-1]
    found = []
    for members, pad_id in ((rows, lm.template.pad_id), (rows + long, lm.template.pad_id), (rows, end)):
        batch = MicroBatch.of({"forget": members}, pad_id)
        with torch.no_grad():
            found.append(View(Forward(lm.model, batch), "forget", None).logps[: len(rows)])
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert torch.allclose(found[0], found[2], atol=1e-5)


def test_order_of_rows_in_a_micro_batch_changes_nothing():
    lm = knowing_lm()
    rows = encode_rows(facts().forget, lm.template)
    order = list(range(len(rows)))
    random.Random(1).shuffle(order)
    with torch.no_grad():
        plain = View(Forward(lm.model, MicroBatch.of({"forget": rows}, 0)), "forget", None).logps
        mixed = View(Forward(lm.model, MicroBatch.of({"forget": [rows[i] for i in order]}, 0)), "forget", None).logps
    assert torch.allclose(mixed, plain[order], atol=1e-5)


def test_logps_are_those_of_the_whole_network():
    """Head on answers alone, no attention mask: the same as full logits with a mask."""
    lm = knowing_lm()
    batch = MicroBatch.of({"forget": encode_rows(facts().forget, lm.template)}, lm.template.pad_id)
    mask = torch.arange(batch.input_ids.shape[1]) < batch.lengths[:, None]
    with torch.no_grad():
        logits = lm.model(input_ids=batch.input_ids, attention_mask=mask.long()).logits[:, :-1]
        every = torch.log_softmax(logits, -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
        view = View(Forward(lm.model, batch), "forget", None)
        assert torch.allclose(view.token_logps, every * view.mask, atol=1e-5)
    answers = sum(len(row.tokens.answer_ids) for row in encode_rows(facts().forget, lm.template))
    assert int(view.mask.sum()) == answers


@pytest.mark.parametrize("forms", [("copy", "cache"), ("copy", "auto")])
def test_reference_forms_agree(forms):
    one, other = (go(NPO(), reference=form) for form in forms)
    assert gap(one, other) < 2e-5


def test_reference_forms_agree_on_an_adapter():
    lm = attach(knowing_lm(), Adapter(rank=4))
    copy, cache, off = (go(NPO(), lm, reference=form) for form in ("copy", "cache", "adapter"))
    assert gap(copy, cache) < 2e-5 and gap(copy, off) < 2e-5
    assert gap(copy, lm) > 1e-4


def test_a_trained_adapter_is_no_reference():
    lm = go(FineTune(on="forget"), attach(knowing_lm(), Adapter(rank=4)))
    with pytest.raises(MethodError, match="new LoRA adapter"):
        go(NPO(), lm, reference="adapter")
    with pytest.raises(MethodError, match="keeps log-probabilities only"):
        go(KLMin(), lm, reference="cache")
    assert go(KLMin(), lm) is not lm  # auto falls back to a copy


def test_only_the_adapter_is_trained():
    lm = attach(knowing_lm(), Adapter(rank=4))
    after = go(GradDiff(), lm)
    old, new = lm.model.state_dict(), after.model.state_dict()
    moved = {name for name in new if not torch.equal(old[name], new[name])}
    assert moved and all("lora_" in name for name in moved)


def test_the_cache_holds_what_is_read_and_is_used_again(home):
    first = go(NPO())
    (table,) = home.glob("store/tables/*/*.parquet")
    store = Store()
    columns = store.get_table(table.name.split(".")[0])
    assert len(columns["key"]) == len(facts().forget), "the retain rows' reference is not read by NPO"
    columns["logps"] = [values - 50 for values in columns["logps"]]
    store.put_table(table.name.split(".")[0], columns)
    assert go(NPO(), lr=2e-3).fingerprint() != go(NPO(), lr=2e-3, reference="copy").fingerprint()
    assert first.fingerprint() == go(NPO(), reference="copy").fingerprint()


def test_answers_are_not_cut_in_silence():
    plan = Plan(train=BASE, data=DataSpec(max_length=20))
    with Run.temporary(BASE) as run:
        run.plan = plan
        with pytest.raises(DataError, match="20 tokens"):
            go(GradDiff(), run=run)


def without_time(event):
    return {key: value for key, value in event.items() if key not in ("time", "at", "t")}


class _Stop(Exception):
    pass


RESUMED = {
    "npo": (NPO(), {}),
    "fine-tune": (FineTune(on="all"), {}),
    "dual": (PDU(combine=Dual(rate=0.5)), {}),
    "blur-early-out": (GradDiff(combine=Blur(), stop=EarlyOut(below=0.3)), {}),
    "recadam": (GradDiff(), {"recadam": RecAdam()}),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", RESUMED)
def test_resume_is_bit_identical(name, precision, monkeypatch):
    method, more = RESUMED[name]
    settings = {"precision": precision, "checkpoint_every": 3, "epochs": 6, **more}
    straight_run = Run.temporary(dataclasses.replace(BASE, **settings))
    straight = go(method, run=straight_run)
    run = Run.temporary(dataclasses.replace(BASE, **settings))
    ends = Guide.on_step_end
    stops = iter([2, 5, 7])

    def crash_at(step):
        def on_step_end(self, args, state, control, **kwargs):
            ends(self, args, state, control, **kwargs)
            if state.global_step == step:
                raise _Stop

        return on_step_end

    for stop in stops:
        monkeypatch.setattr(Guide, "on_step_end", crash_at(stop))
        with pytest.raises(_Stop):
            go(method, run=run)
        torch.manual_seed(stop), random.seed(stop)  # what other code did in between must not matter
    monkeypatch.setattr(Guide, "on_step_end", ends)
    resumed = go(method, run=run)
    assert resumed.fingerprint() == straight.fingerprint()
    assert [without_time(e) for e in losses(run)] == [without_time(e) for e in losses(straight_run)]


def test_a_finished_training_is_not_taken_again():
    run = Run.temporary(dataclasses.replace(BASE, checkpoint_every=2))
    first = go(GradDiff(), run=run)
    lines = len(losses(run))
    assert go(GradDiff(), run=run).fingerprint() == first.fingerprint()
    assert len(losses(run)) == lines


def test_checkpoints_of_another_training_are_left_alone():
    run = Run.temporary(dataclasses.replace(BASE, checkpoint_every=2))
    go(GradDiff(), run=run)
    assert go(GradAscent(), run=run).fingerprint() == go(GradAscent()).fingerprint()


def test_a_signal_stops_at_a_step_with_a_checkpoint(monkeypatch):
    run = Run.temporary(dataclasses.replace(BASE, epochs=4))
    monkeypatch.setattr(Run, "stopping", property(lambda self: len(losses(self)) >= 3))

    def check_stop(self):
        if self.stopping:
            raise Interrupted("stopped")

    monkeypatch.setattr(Run, "check_stop", check_stop)
    with pytest.raises(Interrupted):
        go(NPO(), run=run)
    assert len(losses(run)) == 3
    monkeypatch.undo()
    resumed = go(NPO(), run=run)
    assert [e["step"] for e in losses(run)] == list(range(1, 9))
    assert resumed.fingerprint() == go(NPO(), epochs=4).fingerprint()


def test_resume_with_other_threads_is_refused(monkeypatch):
    run = Run.temporary(dataclasses.replace(BASE, checkpoint_every=2))
    go(GradDiff(), run=run)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    with pytest.raises(RunError, match="64"):
        go(GradDiff(), run=run)


def test_a_damaged_checkpoint_falls_back(monkeypatch):
    run = Run.temporary(dataclasses.replace(BASE, checkpoint_every=2, epochs=4))
    with monkeypatch.context() as patched:
        patched.setattr(
            Run, "check_stop", lambda self: (_ for _ in ()).throw(_Stop) if len(losses(self)) >= 7 else None
        )
        with pytest.raises(_Stop):
            go(GradDiff(), run=run)
    newest = max(run.dir.glob("checkpoints/*/step-*"), key=lambda p: int(p.name[5:]))
    assert newest.name == "step-6"
    file = newest / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert go(GradDiff(), run=run).fingerprint() == go(GradDiff(), epochs=4).fingerprint()
    assert any("step-6 is damaged" in note and "step-4" in note for note in run.manifest.notes)


def test_collapse_keeps_the_last_checkpoint():
    run = Run.temporary(dataclasses.replace(BASE, lr=1e30, checkpoint_every=1, epochs=20))
    with pytest.raises(CollapseError, match="not finite") as caught:
        go(GradAscent(), run=run)
    assert caught.value.exit_code == 6
    for folder in run.dir.glob("checkpoints/*/step-*"):
        from safetensors.torch import load_file

        assert all(t.isfinite().all() for t in load_file(folder / "weights.safetensors").values())


def test_no_pickle_in_a_checkpoint():
    run = Run.temporary(dataclasses.replace(BASE, checkpoint_every=2))
    with pytest.raises(_Stop), pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            Run, "check_stop", lambda self: (_ for _ in ()).throw(_Stop) if len(losses(self)) >= 3 else None
        )
        go(GradDiff(), run=run)
    kinds = {path.suffix for path in run.dir.glob("checkpoints/**/*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}


def test_seeds_and_rows_decide():
    same = [go(GradDiff(), run=Run.temporary(BASE, seed=3)).fingerprint() for _ in range(2)]
    assert same[0] == same[1] != go(GradDiff(), run=Run.temporary(BASE, seed=4)).fingerprint()


def test_global_random_state_does_not_matter():
    torch.manual_seed(1)
    one = go(GradDiff()).fingerprint()
    torch.manual_seed(2)
    assert go(GradDiff()).fingerprint() == one


def test_nothing_of_the_model_is_left_changed():
    lm = knowing_lm()
    after = go(GradDiff(), precision="bf16")
    assert after.model.config.use_cache == lm.model.config.use_cache
    assert after.attention == lm.attention
    assert after.model.training == lm.model.training
    assert all(p.grad is None for p in after.model.parameters())


def test_missing_rows_are_named():
    with pytest.raises(DataError, match="retain"):
        go(GradDiff(), data=ForgetData(forget=facts().forget))
    with pytest.raises(DataError, match="no forget rows"):
        go(GradDiff(), data=ForgetData(retain=facts().retain))


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"learning_rate": 1.0}, "train.lr"), ({"lerning": 1.0}, "no such field"), ({"adam_beta1": "x"}, "train")],
)
def test_extra_is_checked(extra, message):
    with pytest.raises(PlanError, match=message):
        go(GradDiff(), extra=extra)


def test_extra_reaches_the_optimiser():
    assert go(GradDiff()).fingerprint() != go(GradDiff(), extra={"adam_beta1": 0.5}).fingerprint()
