"""The yardstick of bench/evaluate.py: every metric by itself, as a plain loop writes it.

float32 weights under bfloat16 autocast, batches of 16 in random order padded to their longest row, an attention mask,
logits of the whole sequence, one pass over the rows for each metric.
"""

import zlib

import torch

BATCH = 16


def evaluate(model, template, splits):
    """Metric → values in the order of its rows; probability, truth ratio, EM, ES and four membership signals.

    Args:
        model: A float32 causal LM in eval mode.
        template: Encodes prompt and answer.
        splits: Rows by split; forget and holdout are members and non-members.
    """
    found = {}

    def sweep(rows, kind, value):
        pairs = [(row, answer) for row in rows for answer in row.answers(kind)]
        encoded = template.encode_many([(row.prompt, answer) for row, answer in pairs])
        texts = [answer for _, answer in pairs]
        return _sweep(model, encoded, texts, template.pad_id, value)

    for split, rows in splits.items():
        if split == "holdout":
            continue
        found[f"probability@{split}"] = sweep(rows, "answer", _probability)
        if split in ("real-authors", "world-facts"):
            found[f"options@{split}"] = sweep(rows, "perturbed", _probability)
        right = "paraphrased" if rows[0].answers("paraphrased") else "answer"
        found[f"truth-ratio-right@{split}"] = sweep(rows, right, _mean)
        found[f"truth-ratio-wrong@{split}"] = sweep(rows, "perturbed", _mean)
        if split in ("forget", "retain"):
            found[f"exact-memorization@{split}"] = sweep(rows, "answer", _exact)
            found[f"extraction-strength@{split}"] = sweep(rows, "answer", _strength)
    for name, signal in {"loss": _mean, "zlib": _zlib, "min-k": _min_k, "min-k-pp": _min_k_pp}.items():
        for split in ("forget", "holdout"):
            found[f"{name}@{split}"] = sweep(splits[split], "answer", signal)
    return found


@torch.no_grad()
def _sweep(model, encoded, texts, pad_id, value):
    order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(0)).tolist()
    found = [0.0] * len(encoded)
    for at in range(0, len(order), BATCH):
        chosen = order[at : at + BATCH]
        width = max(len(encoded[i]) for i in chosen)
        ids = torch.full((len(chosen), width), pad_id)
        mask = torch.zeros(len(chosen), width, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, : len(encoded[i])] = torch.tensor(encoded[i].input_ids)
            mask[row, : len(encoded[i])] = 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=mask).logits
        for row, i in enumerate(chosen):
            answer = slice(encoded[i].answer_start - 1, len(encoded[i]) - 1)
            gold = torch.tensor(encoded[i].answer_ids)
            found[i] = float(value(logits[row, answer].float(), gold, texts[i]))
    return found


def _logps(logits, gold):
    return logits.log_softmax(-1).gather(-1, gold[:, None])[:, 0]


def _mean(logits, gold, text):
    return _logps(logits, gold).mean()


def _probability(logits, gold, text):
    return _mean(logits, gold, text).exp()


def _exact(logits, gold, text):
    return (logits.argmax(-1) == gold).float().mean()


def _strength(logits, gold, text):
    return (logits.argmax(-1) == gold).flip(0).cumprod(0).sum() / len(gold)


def _zlib(logits, gold, text):
    return _logps(logits, gold).sum() / len(zlib.compress(text.encode()))


def _lowest(scores, share=0.2):
    return scores.sort().values[: max(1, int(len(scores) * share))].mean()


def _min_k(logits, gold, text):
    return _lowest(_logps(logits, gold))


def _min_k_pp(logits, gold, text):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    mean = (p * log_p).sum(-1)
    std = ((p * log_p.square()).sum(-1) - mean.square()).clamp_min(1e-12).sqrt()
    return _lowest((log_p.gather(-1, gold[:, None])[:, 0] - mean) / std)
