"""Fine-tuning attacks: who is given what, what comes back, and from which weights they start."""

import dataclasses
import functools
import json
import signal

import pytest

from unsay.attacks.benign_finetune import BenignFinetune
from unsay.attacks.full_relearn import FullRelearn
from unsay.attacks.relearn import Relearn
from unsay.attacks.retain_finetune import RetainFinetune
from unsay.config.plan import Adapter, Train
from unsay.data.example import ForgetData
from unsay.errors import Interrupted, MethodError, PlanError
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.models.adapters import attach
from unsay.models.patches import with_guard
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm, mean_nll, tiny_lm
from unsay.training.guide import Guide


@functools.cache
def shaken():
    """`knowing_lm` after a step of gradient ascent that is small, but enough to lose the forget rows."""
    train = Train(lr=1.5e-2, batch=8, max_steps=1, precision="fp32", checkpoint_every=0, schedule="constant")
    return GradAscent().unlearn(knowing_lm(), facts(), Run.temporary(train))


@functools.cache
def stranger():
    """A model that was taught the retain rows and never saw the forget rows."""
    train = Train(lr=1e-2, batch=12, epochs=20, micro_tokens=4096, precision="fp32", checkpoint_every=0)
    return FineTune(on="retain").unlearn(tiny_lm(), facts(), Run.temporary(train))


def attacked(attack, lm, data=None):
    return {p.label: p for p in attack.probes(lm, data or facts(), Run.temporary())}


def test_retain_rows_reverse_a_small_update_and_teach_a_stranger_nothing():
    data = facts()
    attack = RetainFinetune(steps=(16, 1), lr=3e-3, batch=12)
    found, control = attacked(attack, shaken()), attacked(attack, stranger())
    assert list(found) == list(control) == ["step-1", "step-16"]
    before, after, back = (mean_nll(lm, data.forget) for lm in (knowing_lm(), shaken(), found["step-16"].lm))
    assert before < 0.2 and after > 1.5
    assert back < 0.6 * after
    assert mean_nll(control["step-16"].lm, data.forget) > mean_nll(stranger(), data.forget) > 2.5
    assert all(p.splits is None for p in found.values())


def test_full_relearning_is_a_curve_that_every_model_climbs():
    data = facts()
    attack = FullRelearn(steps=(8, 2), lr=3e-3)
    for lm in (shaken(), stranger()):
        found = attacked(attack, lm)
        assert [(p.label, p.at) for p in found.values()] == [("step-2", 2), ("step-8", 8)]
        assert mean_nll(lm, data.forget) > mean_nll(found["step-2"].lm, data.forget)
        assert mean_nll(found["step-2"].lm, data.forget) > mean_nll(found["step-8"].lm, data.forget)


def test_benign_rows_are_the_same_for_every_model_and_no_forget_rows(tmp_path):
    attack = BenignFinetune(rows=(2, 3), epochs=1, lr=1e-3, adapter_lr=1e-3, adapter=Adapter(rank=2))
    lm, other = tiny_lm(), tiny_lm(seed=1)
    found, control = attacked(attack, lm), attacked(attack, other)
    assert list(found) == list(control) == ["full-2", "lora-2", "full-3", "lora-3"]
    assert [p.at for p in found.values()] == [2, 2, 3, 3]
    shown = attack.texts(facts(), 0)
    assert shown == attack.texts(facts(), 0) != attack.texts(facts(), 1)
    assert len({p.lm.fingerprint() for p in found.values()}) == 4
    assert mean_nll(found["full-3"].lm, shown[:3]) < mean_nll(lm, shown[:3])
    assert mean_nll(found["lora-3"].lm, shown[:3]) < mean_nll(lm, shown[:3])
    assert [n for n, _ in found["lora-2"].lm.model.named_parameters()] == [n for n, _ in lm.model.named_parameters()]

    mixed = tmp_path / "mixed.jsonl"
    forget = facts().forget[0]
    rows = [{"question": "What now?", "answer": "Tea."}, {"question": forget.question, "answer": f" {forget.answer}"}]
    mixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(MethodError, match="forget rows among them"):
        attacked(dataclasses.replace(attack, rows=(2,), file=str(mixed)), lm)
    with pytest.raises(MethodError, match="asks for 3 rows and has 2"):
        attacked(dataclasses.replace(attack, file=str(mixed)), lm)


def test_unrelated_rows_bring_back_what_is_still_there_and_teach_a_stranger_nothing(secrets, tmp_path):
    file = tmp_path / "others.jsonl"
    rows = [{"question": row.question, "answer": row.answer} for row in secrets.data.retain]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapter = Adapter(rank=4)
    attack = BenignFinetune(rows=(12,), epochs=4, batch=4, lr=1e-3, adapter_lr=5e-3, adapter=adapter, file=str(file))
    after = mean_nll(secrets.hides, secrets.data.forget)
    found, control = attacked(attack, secrets.hides, secrets.data), attacked(attack, secrets.stranger, secrets.data)
    assert after > 0.8 and list(found) == ["full-12", "lora-12"]
    for name in found:
        assert mean_nll(found[name].lm, secrets.data.forget) < 0.7 * after
        assert mean_nll(control[name].lm, secrets.data.forget) > 4.5


def test_a_guard_is_dropped_and_an_adapter_merged():
    lm = knowing_lm()
    hidden = attach(with_guard(lm, "Say nothing."), Adapter(rank=2))  # B = 0: the weights of `lm`
    attack, run = FullRelearn(steps=(1, 2), lr=1e-3), Run.temporary()
    one = attacked(attack, lm)
    other = {p.label: p for p in attack.probes(hidden, facts(), run)}
    assert one["step-1"].lm.fingerprint() == other["step-1"].lm.fingerprint()
    assert not other["step-1"].lm.patches
    (note,) = run.manifest.notes
    assert "without the model's guard" in note


def test_no_checkpoint_of_what_was_taught_stays(monkeypatch):
    run, log = Run.temporary(), Guide._log
    signals = run._shared.signals

    def stop(self, step, terms):
        log(self, step, terms)
        signals.received = signal.SIGTERM if step == 2 else None

    def kept():
        return [file for file in run.dir.rglob("*.safetensors") if "checkpoints" in file.parts]

    attack = FullRelearn(steps=(4,))
    monkeypatch.setattr(Guide, "_log", stop)
    with pytest.raises(Interrupted):
        list(attack.probes(tiny_lm(), facts(), run))
    assert kept()  # to go on from
    signals.received = None
    monkeypatch.setattr(Guide, "_log", log)
    (probe,) = attack.probes(tiny_lm(), facts(), run)
    assert not kept() and not list(run.dir.rglob("checkpoints"))
    assert probe.lm.fingerprint() == attacked(attack, tiny_lm())["step-4"].lm.fingerprint()


def test_what_is_missing_is_said():
    with pytest.raises(MethodError, match="needs retain rows"):
        attacked(RetainFinetune(), tiny_lm(), ForgetData(forget=facts().forget))
    with pytest.raises(MethodError, match="needs forget rows"):
        attacked(FullRelearn(), tiny_lm(), ForgetData())


def test_learning_rates_are_swept_and_entities_held_out():
    attack = Relearn(steps=(1,), lr=1e-4, lrs=(1e-3,), by="entities")
    found = attacked(attack, tiny_lm())
    assert list(found) == ["step-0", "step-1-lr-0.0001", "step-1-lr-0.001"]
    assert len({p.lm.fingerprint() for p in found.values()}) == 3
    told, asked = attack.split(facts().forget, 0)
    assert len(told) == len(asked) == 4
    assert {row.entity for row in told}.isdisjoint(row.entity for row in asked)
    assert found["step-0"].splits == {"forget": asked}


@pytest.mark.parametrize(
    ("attack", "given"),
    [
        (RetainFinetune, {"steps": ()}),
        (FullRelearn, {"steps": (2, 2)}),
        (FullRelearn, {"lr": 0.0}),
        (BenignFinetune, {"weights": ("all",)}),
        (BenignFinetune, {"rows": (0,)}),
        (BenignFinetune, {"epochs": 0.0}),
        (Relearn, {"lrs": (5e-5,)}),
        (Relearn, {"lrs": (0.0,)}),
    ],
)
def test_settings_are_checked(attack, given):
    with pytest.raises(PlanError):
        attack(**given)
