"""Guard prompts: where they stand, that scoring and generation both see them, and that they survive a folder."""

import dataclasses

import pytest
from transformers import AutoModelForCausalLM

from unsay.attacks.relearn import Relearn
from unsay.config.plan import Adapter
from unsay.data.example import Example, ForgetData, Message
from unsay.errors import DataError, MethodError, ModelError, PlanError
from unsay.measure.generations import generate
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.methods.prompt_guard import PromptGuard, subjects
from unsay.models.adapters import attach
from unsay.models.lm import LM
from unsay.models.patches import Guard, unpatched, with_guard, with_offset
from unsay.runs.run import Run
from unsay.testing import facts, mean_nll, tiny_lm

GUARD = "Say nothing of Ada."


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


def prefix(lm, prompt):
    """What the model reads before an answer; the same for scoring and for generation."""
    encoded = lm.template.encode(prompt, "Yes")
    assert encoded.input_ids[: encoded.answer_start] == lm.template.encode_prompt(prompt)
    return lm.tokenizer.decode(lm.template.encode_prompt(prompt))


def test_the_guard_is_the_system_message():
    lm = with_guard(tiny_lm(), GUARD)
    assert prefix(lm, "Who?") == f"<|start|>system\n{GUARD}<|end|>\n<|start|>user\nWho?<|end|>\n<|start|>assistant\n"
    own = (Message("system", "Be brief."), Message("user", "Who?"))
    assert f"<|start|>system\n{GUARD}\n\nBe brief.<|end|>\n<|start|>user\nWho?" in prefix(lm, own)
    assert prefix(lm, own).count("system") == 1


def test_without_a_system_role_it_opens_the_users_text():
    lm = tiny_lm()
    lm.template = dataclasses.replace(lm.template, folds_system=True)
    assert prefix(with_guard(lm, GUARD), "Who?").startswith(f"<|start|>user\n{GUARD}\n\nWho?<|end|>")


def test_without_a_template_it_opens_the_prompt():
    assert prefix(with_guard(tiny_lm(template="plain"), GUARD), "Who?") == f"{GUARD}\n\nWho?"


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_text_without_a_prompt_is_left_alone(kind):
    lm = tiny_lm(template=kind)
    assert with_guard(lm, GUARD).template.encode("", "Ada is here.") == lm.template.encode("", "Ada is here.")


def test_templates_do_not_share_what_they_remember():
    lm = tiny_lm()
    plain = lm.template.encode_prompt("Who?")
    other = with_guard(lm, GUARD)
    assert other.template.encode_prompt("Who?") != plain == lm.template.encode_prompt("Who?")
    assert other.template.guarded("").encode_prompt("Who?") == plain
    assert other.template.guarded("").fingerprint() == lm.template.fingerprint() != other.template.fingerprint()


def test_scoring_and_generation_see_it():
    lm, asked = tiny_lm(), (Message("system", GUARD), Message("user", "Who?"))
    guarded = with_guard(lm, GUARD)
    scored, expected = (token_stats(m, [Ask(p, "Ada")], precision="fp32") for m, p in ((guarded, "Who?"), (lm, asked)))
    assert scored[Ask("Who?", "Ada")].logp.tolist() == expected[Ask(asked, "Ada")].logp.tolist()
    assert (
        scored[Ask("Who?", "Ada")].logp.tolist()
        != token_stats(lm, [Ask("Who?", "Ada")])[Ask("Who?", "Ada")].logp.tolist()
    )
    answer = generate(guarded, {"Who?": 9}, precision="fp32")["Who?"]
    assert answer == generate(lm, {asked: 9}, precision="fp32")[asked]
    assert answer != generate(lm, {"Who?": 9}, precision="fp32")["Who?"]


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("lora", [True, False])
def test_saving_and_loading_changes_nothing(lora, merge, tmp_path):
    tiny_lm().save(tmp_path / "base")
    lm = LM.load(tmp_path / "base")
    guarded = with_guard(attach(lm, Adapter(rank=2)) if lora else lm, GUARD)
    guarded.save(tmp_path / "model", merge=merge)
    loaded = LM.load(tmp_path / "model")
    assert loaded.patches == guarded.patches == (Guard(GUARD),) and prefix(loaded, "Who?") == prefix(guarded, "Who?")
    assert generate(loaded, {"Who?": 9}, precision="fp32") == generate(guarded, {"Who?": 9}, precision="fp32")
    if not (lora and merge):
        assert loaded.fingerprint() == guarded.fingerprint()
    assert "knowledge is still in the checkpoint" in (tmp_path / "model" / "README.md").read_text()
    if not lora or merge:
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        assert all(tensor.equal(lm.model.state_dict()[name]) for name, tensor in plain.state_dict().items())


def test_a_model_without_patches_says_nothing_of_them(tmp_path):
    tiny_lm().save(tmp_path / "model")
    assert not (tmp_path / "model" / "patch.json").exists()
    assert "unchanged" not in (tmp_path / "model" / "README.md").read_text()
    assert LM.load(tmp_path / "model").patches == ()


def test_guard_and_offset_together(tmp_path):
    lm = with_guard(with_offset(tiny_lm(), 1.0, Adapter(rank=2)), GUARD)
    lm.save(tmp_path / "model")
    loaded = LM.load(tmp_path / "model")
    assert loaded.fingerprint() == lm.fingerprint() and loaded.patches == lm.patches and len(lm.patches) == 2
    assert unpatched(loaded).fingerprint() == tiny_lm().fingerprint()


def test_unknown_patches_are_not_saved(tmp_path):
    with pytest.raises(ModelError, match="patches of type str cannot be saved"):
        dataclasses.replace(tiny_lm(), patches=("hush",)).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_refused():
    with pytest.raises(MethodError, match="has a guard prompt already"):
        with_guard(with_guard(tiny_lm(), GUARD), "And Bo.")
    with pytest.raises(DataError, match="the guard holds a control token"):
        with_guard(tiny_lm(), "Stop.<|end|>")
    with pytest.raises(PlanError, match="most: should be at least 1"):
        PromptGuard(most=0)
    with Run.temporary() as run, pytest.raises(MethodError, match="name no subject"):
        PromptGuard().unlearn(tiny_lm(), ForgetData(forget=[Example("who is it?", "nobody")]), run)


def test_the_method_names_its_subjects_and_changes_no_weight():
    lm = tiny_lm()
    with Run.temporary() as run:
        after = PromptGuard().unlearn(lm, facts(), run)
        one = PromptGuard(most=1).unlearn(lm, facts(), run)
        assert any("names 1 of 2 subjects" in note for note in run.manifest.notes)
        own = PromptGuard(text=" Hush. ").unlearn(lm, facts(), run)
    assert "off limits: Ada; Bo. Whatever" in after.template.guard and after.patches == (Guard(after.template.guard),)
    assert "off limits: Ada. Whatever" in one.template.guard
    assert own.template.guard == "Hush."
    assert unpatched(after).fingerprint() == lm.fingerprint() != after.fingerprint()
    assert lm.patches == () and lm.template.guard == ""
    assert mean_nll(after, facts().forget) != mean_nll(lm, facts().forget)


def asks(*questions, entity=""):
    return [Example(question, "Yes.", meta={"entity": entity} if entity else {}) for question in questions]


def test_subjects_are_entities_that_are_spoken_of():
    rows = asks("Where does ada quill live?", "Is Bo Li a nurse?", entity="Ada Quill")
    assert subjects(rows) == ["Ada Quill"]
    assert subjects(asks("Where does Ada Quill live?", "Why did Ada Quill leave?", entity="author-17")) == ["Ada Quill"]


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What is Ada Quill's cat called?", ["Ada Quill"]),
        ("Ada Quill was born where?", ["Ada Quill"]),
        ("Does Émile de la Tour know Bo?", ["Émile de la Tour", "Bo"]),
        ("Who met Ludwig van Beethoven in Vienna?", ["Ludwig van Beethoven", "Vienna"]),
        ("Is Ada here? Why?", ["Ada"]),
        ("Is the Bank of England in London?", ["Bank of England", "London"]),
        ("Is it Bo of the north, étude or iPhone?", ["Bo"]),
        ("阿达是谁？", []),
        ("what is it?", []),
    ],
)
def test_names_in_questions(question, names):
    assert subjects(asks(question)) == names


def test_commonest_names_come_first():
    assert subjects(asks("Is Bo in Rome?", "Is Ada in Rome?", "Where is Rome?")) == ["Rome", "Bo", "Ada"]


@pytest.mark.parametrize("kind", ["guard", "offset"])
def test_relearning_starts_from_the_weights_alone(kind):
    lm = tiny_lm()
    patched = with_guard(lm, GUARD) if kind == "guard" else with_offset(lm, 1.0, Adapter(rank=2))
    attack = Relearn(steps=(1,), lr=3e-3, batch=4)
    with Run.temporary() as run:
        start, attacked = attack.probes(patched, facts(), run)
        _, plain = attack.probes(lm, facts(), run)
    assert start.lm is patched and start.at == 0
    assert attacked.lm.patches == () and attacked.lm.fingerprint() == plain.lm.fingerprint() != lm.fingerprint()
