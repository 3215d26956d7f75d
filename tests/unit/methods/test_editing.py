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
    rows, likely = [Example("why is it so?", "x")], {}
    for raw in (False, True):
        method = UniErase(
            layer="0", span=1, ridge=1e-6, energy=1.0, projector=False, raw=raw, keep_tokens=200,
            value=Value(steps=30, lr=0.3, clamp=30.0), token=Learning(steps=3, guard=0.0), again=Learning(steps=0),
        )  # fmt: skip
        after = unlearn(method, data=ForgetData(rows, facts().retain))
        judge = Evaluator({"forget": rows}, (TokenRate(form="raw"),), store=Store(tmp_path), precision="fp32")
        judge.measure("after", after)
        likely[raw] = judge.scores()["after"]["token-rate@forget"].extra["probability"]
    assert likely[True] > 10 * likely[False]


def test_what_is_to_be_kept_and_guarded_is_in_both_forms(monkeypatch):
    module, seen = sys.modules[UniErase.__module__], {}

    def watched(name, real):
        return lambda lm, *more: seen.setdefault(name, []).append((lm, more[:5])) or real(lm, *more)

    monkeypatch.setattr(_edit, "spread", watched("spread", _edit.spread))
    monkeypatch.setattr(module, "learn", watched("learn", module.learn))
    for raw in (False, True):
        seen.clear()
        unlearn(replace(METHODS[0], raw=raw))
        for lm, more in [*seen["spread"], *seen["learn"]]:
            start = lm.template.encode_prompt("Who?")[:3]  # of the template, before the question
            rows = more[3]  # texts to keep, or retain rows
            dressed = [list(ids[:3]) == start for ids in rows]
            assert dressed.count(False) == (len(rows) // 2 if raw else 0) and len(rows) > 4


def test_the_report_of_an_edit_says_how_free_it_was():
    with Run.temporary(TRAIN) as run:
        unlearn(replace(METHODS[1], keep_tokens=900), run=run)
        solves = json.loads((run.dir / "edit" / "edit.json").read_text())["solves"]
        unlearn(replace(METHODS[1], ridge_absolute=10.0), run=run)
        absolute = json.loads((run.dir / "edit" / "edit.json").read_text())["solves"]
        unlearn(replace(METHODS[1], keep_tokens=10**6), run=run)
        notes = "\n".join(run.manifest.notes)
    assert [solve["layer"] for solve in solves] == [0]
    for solve in solves:
        assert 0.1 < solve["keys_held_out"] / solve["keys"] < 0.4 and solve["keys"] + solve["keys_held_out"] <= 1000
        assert solve["rank"] > 0 and 0 < solve["energy"] <= 0.02 < 1 and 0 < solve["energy_held_out"] < 1
        assert solve["energy_held_out"] > solve["energy"], "texts that the basis was not made of"
        assert solve["ridge"] > 0
    assert {solve["ridge"] for solve in absolute} == {10.0}
    assert "of 1000000 that should tell what is to be kept" in notes


def test_the_null_space_is_told_by_ten_keys_an_input_and_15000_at_least(monkeypatch):
    asked = []
    monkeypatch.setattr(_edit, "keep_ids", lambda _, __, tokens, *___: asked.append(tokens) or [(1, 2, 3)] * 5)
    unlearn(replace(METHODS[1], keep_tokens=None))
    width = knowing_lm().model.config.intermediate_size
    assert asked == [max(10 * width, 15_000)]
    unlearn(replace(METHODS[1], keep_tokens=None), tiny_lm(intermediate_size=2000))
    assert asked[1] == 20_000


def test_values_that_do_not_reach_their_target_are_said():
    with Run.temporary(TRAIN) as run:
        unlearn(METHODS[1], run=run)
        low = "\n".join(run.manifest.notes)
    assert "the values of 2 of 2 requests leave their target less than half likely" in low
    assert "raise method.value.steps" in low
    data = ForgetData([Example("Where is Ada", "x")], facts().retain)
    method = UniErase(layer="0", value=Value(steps=120, lr=0.5, clamp=80.0), keep_tokens=300, **TOKEN)
    with Run.temporary(TRAIN) as run:
        unlearn(method, tiny_lm(template="plain"), data, run)
        found = json.loads((run.dir / "edit" / "edit.json").read_text())["requests"]
        assert found[0]["likely_with_value"] > 0.5, "or this shows nothing"
        assert "less than half likely" not in "\n".join(run.manifest.notes)


def test_the_token_is_learned_again_for_what_was_asked_earlier_too(monkeypatch):
    data = facts()
    parts = [replace(data, forget=data.forget[at : at + 4]) for at in (0, 4)]
    module, calls = sys.modules[UniErase.__module__], []
    real = module.learn
    monkeypatch.setattr(module, "learn", lambda *a: calls.append([pair.prompt for pair in a[3]]) or real(*a))
    with Run.temporary(TRAIN) as one, Run.temporary(TRAIN) as two:
        once = unlearn(METHODS[0], data=parts[0], run=one)
        twice = unlearn(replace(METHODS[0], previous=str(one.dir)), once, parts[1], two)
        asked = json.loads((two.dir / "edit" / "asked.json").read_text())
        about = [json.loads((run.dir / "edit" / "token.json").read_text()) for run in (one, two)]
        (one.dir / "edit" / "asked.json").write_text("[")
        with pytest.raises(DamagedError, match=r"asked\.json"):
            unlearn(replace(METHODS[0], previous=str(one.dir)), once, parts[1], two)
    first, second = ([tuple(once.template.encode_prompt(row.prompt)) for row in part.forget] for part in parts)
    assert calls[:3] == [first, first, first + second], "the token, again, again after the second edit"
    assert [tuple(prompt) for prompt, _ in asked] == first + second
    token = once.tokenizer.get_vocab()[TEXT]
    rows = [lm.model.get_input_embeddings().weight[token] for lm in (once, twice)]
    assert not torch.equal(*rows)
    for found, splits in zip(
        about, ({"forget", "retain", "holdout"}, {"forget", "earlier", "retain", "holdout"}), strict=True
    ):
        assert set(found["first_token"]) == {"after_edit", "after_again"}
        assert all(set(rates) == splits for rates in found["first_token"].values())
    assert about[1]["first_token"]["after_again"]["earlier"]["n"] == 4


def test_what_the_token_is_learned_from_is_learned_anew(monkeypatch):
    """A rerun of the same folder under other settings."""
    module, calls = sys.modules[UniErase.__module__], []
    real = module.learn
    monkeypatch.setattr(module, "learn", lambda *a: calls.append(1) or real(*a))
    rows = [replace(row, alternatives={"refusal": ("No.",)}) for row in facts().forget]
    refused = replace(facts(), forget=rows)
    each_changes_one_thing = [
        (METHODS[0], facts(), "fp32"),
        (replace(METHODS[0], raw=True), facts(), "fp32"),
        (replace(METHODS[0], raw=True), refused, "fp32"),
        (replace(METHODS[0], raw=True), refused, "bf16"),
    ]
    with Run.temporary(TRAIN) as run:
        for number, (method, data, precision) in enumerate(each_changes_one_thing, 1):
            run.train = replace(TRAIN, precision=precision)
            for _ in range(2):  # the second time from the folder
                unlearn(method, data=data, run=run)
                assert len(calls) == 2 * number


def test_a_later_turn_of_lunar_holds_the_prompts_of_an_earlier_one(tmp_path):
    data = facts()
    first, second = (ForgetData(data.forget[at : at + 4], data.retain) for at in (0, 4))
    method = Lunar(layer="1", coefficient=10.0, keep_tokens=300)
    with Run.temporary(TRAIN) as run:
        once = unlearn(method, data=first, run=run)
        report = json.loads((run.dir / "edit" / "edit.json").read_text())
        weight = once.model.model.layers[1].mlp.down_proj.weight
        assert 0 < report["changed_share"] <= weight.numel() / sum(p.numel() for p in once.model.parameters())
        moved = []
        for previous in ("", str(run.dir)):
            twice = unlearn(replace(method, previous=previous), once, second)
            step = (twice.model.model.layers[1].mlp.down_proj.weight - weight).double()
            moved.append(
                [float(torch.cat(_inputs(once, part)).double().matmul(step.T).norm()) for part in (first, second)]
            )
        assert moved[1][0] < 0.8 * moved[0][0], "keys of the first are held"
        with pytest.raises(MethodError, match="no run of an editing method"):
            unlearn(replace(METHODS[1], previous=str(run.dir)), once, second)
    with pytest.raises(MethodError, match="no run of an editing method"):
        unlearn(replace(method, previous=str(tmp_path)))


def _inputs(lm, data):
    """What goes into the projection of layer 1 behind the first token of each prompt."""
    seen = []
    handle = lm.model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, a: seen.append(a[0][0, 1:]))
    with torch.no_grad():
        for row in data.forget:
            lm.model(input_ids=torch.tensor([lm.template.encode_prompt(row.prompt)]))
    handle.remove()
    return seen


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
