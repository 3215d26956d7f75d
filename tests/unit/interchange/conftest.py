"""Evaluations as open-unlearning writes them, with made-up losses."""

import json

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

ROWS = 24


def plain(field, values, **texts):
    return {
        "agg_value": float(np.mean(values)),
        "value_by_index": {str(i): {field: float(v), **texts} for i, v in enumerate(values)},
    }


def ratio(values, kind):
    of = np.minimum(values, 1 / (values + 1e-10)) if kind == "forget" else np.maximum(0, 1 - values)
    return {
        "agg_value": float(of.mean()),
        "value_by_index": {str(i): {"score": float(v)} for i, v in enumerate(values)},
    }


def rouge(rng, split, field="rougeL_recall"):
    recalls = rng.uniform(0, 1, ROWS)
    rows = {
        str(i): {
            "rouge1_recall": min(1.0, r + 0.1),
            "rougeL_f1": 0.9 * r,
            "rougeL_recall": r,
            "input": f"{split} question {i}?",
            "ground_truth": f"{split} answer {i}",
            "generation": f"{split} said {i}",
        }
        for i, r in enumerate(map(float, recalls))
    }
    return {"agg_value": float(np.mean([row[field] for row in rows.values()])), "value_by_index": rows}


def attack(rng, shift):
    """Scores as losses: those of the holdout rows are higher, and the AUC is that of "holdout has the higher score"."""
    forget, holdout = rng.normal(0, 1, ROWS), rng.normal(shift, 1, ROWS)
    auc = float(np.mean(holdout[None, :] > forget[:, None]))
    parts = {
        name: {"agg_value": float(v.mean()), "value_by_index": {str(i): {"score": float(x)} for i, x in enumerate(v)}}
        for name, v in (("forget", forget), ("holdout", holdout))
    }
    return {**parts, "auc": auc, "agg_value": auc}


def evaluation(seed, shift=1.0, retrained=None):
    """A TOFU evaluation; `retrained` is another one for forget quality and PrivLeak."""
    rng = np.random.default_rng(seed)
    found = {
        "forget_Q_A_Prob": plain("prob", rng.uniform(0.1, 0.9, ROWS), avg_loss=1.0),
        "forget_Q_A_ROUGE": rouge(rng, "forget"),
        "forget_Q_A_PARA_Prob": plain("prob", rng.uniform(0.1, 0.9, ROWS), avg_loss=1.0),
        "forget_Q_A_PERT_Prob": {
            "agg_value": 0.2,
            "value_by_index": {str(i): {"prob": [0.1, 0.2 + i % 2 / 5], "avg_loss": [2.0, 3.0]} for i in range(ROWS)},
        },
        "forget_truth_ratio": ratio(rng.uniform(0.2, 3, ROWS), "forget"),
        "extraction_strength": plain("score", rng.uniform(0, 0.3, ROWS)),
        "exact_memorization": plain("score", rng.uniform(0.2, 0.8, ROWS)),
        "mia_min_k": attack(rng, shift),
        "mia_loss": attack(rng, shift),
        "mia_zlib": attack(rng, shift),
        "forget_quality": {"agg_value": None},
    }
    for prefix, prob in (("retain", "Prob"), ("ra", "Prob_normalised"), ("wf", "Prob_normalised")):
        found[f"{prefix}_Q_A_{prob}"] = plain("prob", rng.uniform(0.3, 0.9, ROWS))
        found[f"{prefix}_Q_A_ROUGE"] = rouge(rng, prefix)
        found[f"{prefix}_Truth_Ratio"] = ratio(rng.uniform(0.2, 1.3, ROWS), "utility")
    parts = [v["agg_value"] for k, v in found.items() if k.startswith(("retain_", "ra_", "wf_"))]
    found["model_utility"] = {"agg_value": float(hmean(parts))}
    if retrained:
        of = [[r["score"] for r in e["forget_truth_ratio"]["value_by_index"].values()] for e in (found, retrained)]
        found["forget_quality"] = {"agg_value": float(ks_2samp(*(1 / (np.array(v) + 1e-10) for v in of)).pvalue)}
        leak, base = (1 - e["mia_min_k"]["agg_value"] for e in (found, retrained))
        found["privleak"] = {"agg_value": (leak - base) / (base + 1e-10) * 100}
    return found


def write_evaluation(folder, content, name="TOFU"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_EVAL.json").write_text(json.dumps(content))
    summary = {k: v["agg_value"] for k, v in content.items() if v.get("agg_value") is not None}
    (folder / f"{name}_SUMMARY.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def folders(tmp_path):
    """Tag → folder of an evaluation, and tag → what is in it."""
    retrained = evaluation(1, shift=0.2)
    content = {"before": evaluation(2, 2.0, retrained), "after": evaluation(3, 1.0, retrained), "retrained": retrained}
    return {tag: write_evaluation(tmp_path / "saves" / tag, of) for tag, of in content.items()}, content
