"""The editing methods on tiny models: what they change and what they leave, files, resumption, families."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.data.example import Example, ForgetData
from unsay.editing.token import TEXT, Learning
from unsay.editing.value import Value
from unsay.errors import DamagedError, DataError, MethodError, PlanError, UnsayError
from unsay.measure.evaluator import Evaluator
from unsay.methods import _edit
from unsay.methods.alpha_edit import AlphaEdit
from unsay.methods.lunar import Lunar
from unsay.methods.memit import MEMIT
from unsay.methods.rome import ROME
from unsay.methods.unierase import UniErase
from unsay.metrics.token_rate import TokenRate
from unsay.models._tiny import FAMILIES
from unsay.models.adapters import attach
from unsay.models.lm import LM
from unsay.runs.run import Run
from unsay.runs.store import Store
from unsay.testing import facts, knowing_lm, tiny_lm

TRAIN = Train(micro_tokens=4096, precision="fp32", checkpoint_every=0)
FEW = {"value": Value(steps=3), "keep_tokens": 300}
TOKEN = {"token": Learning(steps=3), "again": Learning(steps=2, aim=1.0)}
METHODS = [UniErase(**FEW, **TOKEN), AlphaEdit(**FEW), MEMIT(**FEW), ROME(**FEW), Lunar(layer="1", keep_tokens=300)]
NAMES = ["unierase", "alpha-edit", "memit", "rome", "lunar"]
PROJECTION = ("down_proj", "dense_4h_to_h", "fc2", "c_proj")


def unlearn(method, lm=None, data=None, run=None):
    if run is not None:
        return method.unlearn(lm or knowing_lm(), data or facts(), run)
    with Run.temporary(TRAIN) as own:
        return method.unlearn(lm or knowing_lm(), data or facts(), own)


def changed(before, after):
    new = after.model.state_dict()
    return {n for n, t in before.model.state_dict().items() if not torch.equal(t, new[n][: len(t)])}


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_only_output_projections_and_the_tokens_rows_change(family, method):
    lm = tiny_lm(family, vocab_size=130, **({"n_layer": 3} if family == "gpt2" else {"num_hidden_layers": 3}))
    after = unlearn(replace(method, layer="1"), lm)
    found = changed(lm, after)
    rows = {n for n in found if lm.model.state_dict()[n].shape[0] == 130}
    assert all(any(name in n for name in PROJECTION) and n.endswith("weight") for n in found - rows)
    assert len(found - rows) == (1 if isinstance(method, ROME | Lunar) else 2)
    if isinstance(method, UniErase):
        token = after.tokenizer.get_vocab()[TEXT]
        for n in rows:
            moved = (after.model.state_dict()[n] != lm.model.state_dict()[n]).reshape(130, -1).any(1)
            assert moved.nonzero().flatten().tolist() == [token]
    else:
        assert not rows


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt-neox", "gpt2"])
def test_the_last_layer_gives_what_was_asked(family):
    """Where the prompt ends and the ridge is small, the edited layer moves by δ, and the target comes."""
    lm = tiny_lm(family, template="plain")
    data = ForgetData([Example("Where is Ada", "Oslo")], [Example(f"{n} is what", "x y z") for n in "bcdef"])
    method = AlphaEdit(layer="0", span=1, ridge=1e-6, energy=1.0, value=Value(steps=20, lr=0.3, clamp=20.0))
    with Run.temporary(TRAIN) as run:
        method.unlearn(lm, data, run)
        report = json.loads((run.dir / "edit" / "edit.json").read_text())
    first = report["first_token"]
    assert first["after"]["probability"] > 20 * first["before"]["probability"]


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_an_adapter_is_refused(method):
    with pytest.raises(MethodError, match="adapter"):
        unlearn(method, attach(knowing_lm(), Adapter(rank=2)))


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_plain_text_is_refused(method):
    with pytest.raises(DataError, match="question"):
        unlearn(method, data=ForgetData([Example("", "all of it")], facts().retain))


def test_the_last_layer_is_too_late():
    with pytest.raises(MethodError, match="no part in the answers"):
        unlearn(AlphaEdit(layer="2", **FEW))


def test_a_layer_that_does_not_exist_is_found_first(monkeypatch):
    monkeypatch.setattr(_edit, "refused", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(MethodError, match="no decoder layer 7"):
        unlearn(AlphaEdit(layer="7"))


@pytest.mark.parametrize(
    "settings", [{"span": 0}, {"ridge": 0.0}, {"keep_tokens": 0}, {"energy": 0.0}, {"cutoff": -1.0}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(PlanError):
        AlphaEdit(**settings)


def test_a_rerun_finds_nothing_again(monkeypatch):
    with Run.temporary(TRAIN) as run:
        once = unlearn(METHODS[0], run=run)
        for name in ("values", "learn"):
            target = _edit if name == "values" else sys.modules[UniErase.__module__]
            monkeypatch.setattr(target, name, lambda *_, **__: pytest.fail("found again"))
        assert unlearn(METHODS[0], run=run).fingerprint() == once.fingerprint()
        monkeypatch.undo()
        (run.dir / "edit" / "values.safetensors").write_bytes(b"damaged")
        assert unlearn(METHODS[0], run=run).fingerprint() == once.fingerprint()
        monkeypatch.setattr(_edit, "values", lambda *_, **__: pytest.fail("other settings"))
        with pytest.raises(pytest.fail.Exception, match="other settings"):
            unlearn(replace(METHODS[0], value=Value(steps=2)), run=run)


def test_a_stop_is_heeded(monkeypatch):
    with Run.temporary(TRAIN) as run:

        def stop():
            raise UnsayError("stopped")

        monkeypatch.setattr(run, "check_stop", stop)
        with pytest.raises(UnsayError, match="stopped"):
            unlearn(METHODS[1], run=run)


def test_a_later_edit_holds_the_keys_of_an_earlier_one(tmp_path):
    data = facts()
    first, second = (ForgetData(data.forget[at : at + 4], data.retain) for at in (0, 4))
    method = AlphaEdit(ridge=1e-3, energy=1.0, layer="0", value=Value(steps=5), keep_tokens=300)
    with Run.temporary(TRAIN) as run:
        once = unlearn(method, data=first, run=run)
        folder = str(run.dir)
        forgetful = unlearn(method, once, second)
        mindful = unlearn(replace(method, previous=folder), once, second)
        moved = [float((_output(lm, first) - _output(once, first)).norm()) for lm in (forgetful, mindful)]
        assert moved[1] < 0.1 * moved[0]
        (run.dir / "edit" / "keys.safetensors").write_bytes(b"damaged")
        with pytest.raises(DamagedError, match="keys"):
            unlearn(replace(method, previous=folder), once, second)
    with pytest.raises(MethodError, match="no run of an editing method"):
        unlearn(replace(method, previous=str(tmp_path)))


def _output(lm, data):
    """[D] mean output of layer 0 where the subject ends: what an edit of that layer changes."""
    from unsay.editing.keys import at_places
    from unsay.editing.subjects import requests

    places = [p for r in requests(data.forget, lm.template, (), together=True) for p in r.places]
    with Run.temporary(TRAIN) as run:
        return at_places(lm, places, {"out": (lm.model.model.layers[0], "out")}, run, "")["out"].mean(0)


def test_the_user_sees_what_the_edit_hangs_on():
    rows = [*facts().forget, Example("why so?", "x"), Example("", "plain text")]
    with Run.temporary(TRAIN) as run:
        unlearn(METHODS[1], data=ForgetData(rows, facts().retain), run=run)
        notes = "\n".join(run.manifest.notes)
        report = json.loads((run.dir / "edit" / "edit.json").read_text())
    assert "Ada (4 rows), Bo (4 rows)" in notes
    assert "1 of 10 forget rows name no subject" in notes
    assert "1 of 10 forget rows are plain text" in notes
    assert [r["subject"] for r in report["requests"]] == ["Ada", "Bo", ""]
    assert 0 < report["changed_share"] < 1


def test_lunar_takes_the_rows_own_reference_questions():
    rows = [replace(row, alternatives={"reference": ("Who is Zed?",)}) for row in facts().forget]
    own, listed = (unlearn(METHODS[4], data=ForgetData(r, facts().retain)) for r in (rows, facts().forget))
    assert own.fingerprint() != listed.fingerprint()


def test_a_saved_edit_answers_alike_in_another_process(tmp_path):
    after = unlearn(METHODS[0])
    after.save(tmp_path / "model")
    ids = after.template.encode_prompt("Ada's cat?")
    script = (
        "import torch, sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1]); tok = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        f"ids = torch.tensor([{ids}])\n"
        "out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)\n"
        f"print(out[0].tolist()); print(tok('{TEXT}x')['input_ids'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokens = torch.tensor([ids])
    here = LM.load(str(tmp_path / "model")).model.generate(
        tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=12
    )
    assert json.loads(done.stdout.splitlines()[0]) == here[0].tolist()


def test_without_the_projector_unierase_is_another_edit():
    one, other = (unlearn(replace(METHODS[0], projector=projector)) for projector in (True, False))
    assert one.fingerprint() != other.fingerprint()


def test_questions_as_plain_text_are_edited_too(tmp_path):
    """Without `raw`, the token hardly comes after questions that the template does not dress."""
    likely = {}
    for raw in (False, True):
        method = UniErase(
            layer="0", span=1, ridge=1e-6, energy=1.0, projector=False, raw=raw, keep_tokens=200,
            value=Value(steps=30, lr=0.3, clamp=30.0), token=Learning(steps=3, guard=0.0), again=Learning(steps=0),
        )  # fmt: skip
        after = unlearn(method)
        judge = Evaluator({"forget": facts().forget}, (TokenRate(form="raw"),), store=Store(tmp_path), precision="fp32")
        judge.measure("after", after)
        likely[raw] = judge.scores()["after"]["token-rate@forget"].extra["probability"]
    assert likely[True] > 2 * likely[False]


def test_a_later_edit_leads_to_the_same_token():
    data = facts()
    once = unlearn(METHODS[0], data=ForgetData(data.forget[:4], data.retain))
    with Run.temporary(TRAIN) as run:
        twice = unlearn(METHODS[0], once, ForgetData(data.forget[4:], data.retain), run)
        about = json.loads((run.dir / "edit" / "token.json").read_text())
    token = once.tokenizer.get_vocab()[TEXT]
    assert (about["id"], about["found"]) == (token, "the token of an earlier edit")
    rows = [lm.model.get_input_embeddings().weight[token] for lm in (once, twice)]
    assert torch.equal(*rows), "earlier questions would lead to something else"
    assert changed(once, twice)
