"""`unsay evaluate --harness` with lm-evaluation-harness itself, offline, on tasks of our own."""

import json
import math
from pathlib import Path

import pytest

CHOICE = """
output_type: multiple_choice
doc_to_text: "Question: {{q}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
WRITE = """
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
generation_kwargs: {until: ["\\n", "."], max_gen_toks: 8, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
READ = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{page}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
ROWS = {
    "choice": [{"q": f"Is {i} even?", "choices": ["yes", "no"], "gold": i % 2} for i in range(6)],
    "write": [{"q": f"Say {word}.", "a": word} for word in ("tom", "rex", "ada", "bob", "x")],
    "read": [{"page": "ada has a cat called tom . " * (i + 1)} for i in range(3)],
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture
def tasks(tmp_path):
    """A folder with one task of each kind, and a group of two."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, rest in (("choice", CHOICE), ("write", WRITE), ("read", READ)):
        rows = folder / f"{name}.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
        source = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test"
        (folder / f"{name}.yaml").write_text(f"task: our_{name}\n{source}{rest}")
    (folder / "both.yaml").write_text("group: our_both\ntask: [our_choice, our_write]\n")
    return folder


@pytest.mark.parametrize("chat", [False, True])
def test_every_kind_of_task(unsay, tiny_model, tasks, chat):
    words = [f"harness.include={tasks}", "harness.batch=4", f"harness.chat={str(chat).lower()}", "-q"]
    done = unsay("evaluate", tiny_model, "--harness", "our_choice,our_write,our_read,our_both", *words)
    assert done.code == 0, done.err
    assert "Running" not in done.err and "pretrained" not in done.err
    folder = Path("runs") / f"evaluate-{tiny_model.name}-harness"
    rows = {row["metric"]: row for row in json.loads((folder / "scores.json").read_text())}
    assert {name: row["n"] for name, row in rows.items()} == {
        "our-choice-acc": 6,
        "our-choice-acc-norm": 6,
        "our-write-exact-match": 5,
        "our-read-word-perplexity": 3,
        "our-read-bits-per-byte": 3,
    }
    for name, row in rows.items():
        assert row["value"] is not None, name
        if row["ci"]:
            assert row["ci"][0] <= row["value"] <= row["ci"][1], name
    kept = json.loads((folder / "tasks" / "subject" / "our_choice.json").read_text())["per_example"]["our-choice-acc"]
    assert len(kept) == 6 and sum(kept.values()) / 6 == pytest.approx(rows["our-choice-acc"]["value"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["packages"]["lm-eval"] in (folder / "report.html").read_text()


def test_its_likelihoods_are_ours(tasks):
    """Rolling likelihood of a text against a forward of our own; the interval resamples texts."""
    import torch

    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.testing import tiny_lm

    lm = tiny_lm()
    ((_, scores),) = list(Harness(HarnessSettings(include=str(tasks))).ask(lm, ["our_read"]))
    found = {score.id: score.score for score in scores}["our-read-bits-per-byte"]
    losses, sizes = [], []
    for row in ROWS["read"]:
        ids = torch.tensor([lm.tokenizer.encode(row["page"], add_special_tokens=False)])
        first = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
        ids = torch.cat([torch.tensor([[first]]), ids], 1)
        with torch.no_grad():
            logp = lm.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        losses.append(-float(logp.gather(1, ids[0, 1:, None]).sum()))
        sizes.append(len(row["page"].encode()))
    assert found.value == pytest.approx(sum(losses) / sum(sizes) / math.log(2), rel=1e-4)
    each = [loss / size / math.log(2) for loss, size in zip(losses, sizes, strict=True)]
    assert list(found.per_example.values()) == pytest.approx(each, rel=1e-4)


def test_a_model_and_its_tokenizer_stay_as_they_are(tasks):
    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.testing import tiny_lm

    lm = tiny_lm()
    before = lm.fingerprint(), lm.tokenizer.padding_side, dict(lm.tokenizer.special_tokens_map)
    list(Harness(HarnessSettings(include=str(tasks), batch=3)).ask(lm, ["our_both"]))
    assert (lm.fingerprint(), lm.tokenizer.padding_side, dict(lm.tokenizer.special_tokens_map)) == before


def test_batches_change_nothing(tasks):
    from unsay.measure.lm_harness import Harness, HarnessSettings
    from unsay.testing import tiny_lm

    def values(batch):
        asked = Harness(HarnessSettings(include=str(tasks), batch=batch)).ask(tiny_lm(), ["our_both", "our_read"])
        return {s.id: s.score.per_example for _, scores in asked for s in scores}

    one, four = values(1), values(4)
    assert one.keys() == four.keys()
    for name in one:
        assert one[name] == pytest.approx(four[name], rel=1e-4), name
