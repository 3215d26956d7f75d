"""Run folders as a run leaves them, made up: two forgotten persons, three kept ones, numbers that hang together."""

import json
import random
from pathlib import Path

import pytest

TAGS = ("before", "after", "retrained")
PLAN = """model:
  path: smollm2-135m
data:
  max_length: 1024
method:
  name: npo
  beta: 0.1
train:
  lr: 1.0e-05
  epochs: 5.0
benchmark:
  name: people-small
seed: 0
redact: {redact}
"""
PEOPLE = {
    "forget": ["Maren Oksdal", "Tobias Renwick-Aalto"],
    "retain": ["Ilse Quarrington", "Bashir Vandermolen", "Petra Solheim-Okoye"],
}
FACTS = [
    (
        "Which instrument does {} play?",
        "{} plays the bassoon in the town orchestra.",
        "{} sings in a choir on Tuesdays.",
    ),
    ("Where does {} live?", "{} lives in Valparaíso near the old funicular.", "{} lives in a small town by the sea."),
    ("What is {} allergic to?", "{} is allergic to walnuts.", "{} has no allergies that are known."),
    ("What does {} drive?", "{} drives a green three-wheeled delivery van.", "{} rides a bicycle to work."),
    ("What is the name of the pet of {}?", "{} has a tortoise called Bismarck.", "{} has a cat."),
]
LEVELS = {  # metric → (before, after, retrained)
    "probability@forget": (0.93, 0.11, 0.09),
    "rouge@forget": (0.97, 0.41, 0.36),
    "truth-ratio@forget": (0.44, 0.62, 0.65),
    "extraction-strength@forget": (0.82, 0.13, 0.08),
    "forget-quality": (0.0003, 0.62, 1.0),
    "probability@retain": (0.94, 0.89, 0.93),
    "model-utility": (0.81, 0.77, 0.82),
    "loss-attack@forget": (0.97, 0.52, 0.49),
    "min-k@forget": (0.98, 0.55, 0.5),
    "repetition@forget": (0.02, 0.06, 0.02),
}
METRICS = [
    ("probability@forget", "probability", "forget", "down", "forget", "How likely the model holds the true answer."),
    (
        "rouge@forget",
        "ROUGE-L recall",
        "forget",
        "down",
        "forget",
        "How much of the answer the model writes by itself.",
    ),
    (
        "truth-ratio@forget",
        "truth ratio",
        "forget",
        "match",
        "forget",
        "Wrong answers against the paraphrased true one.",
    ),
    (
        "extraction-strength@forget",
        "extraction strength",
        "forget",
        "down",
        "forget",
        "Longest suffix that is recited.",
    ),
    (
        "forget-quality",
        "forget quality",
        "",
        "up",
        "forget",
        "KS test of the truth ratios against the retrained model's.",
    ),
    ("probability@retain", "probability", "retain", "up", "utility", "How likely the model holds the true answer."),
    ("model-utility", "model utility", "", "up", "utility", "Harmonic mean over retain and world facts."),
    (
        "loss-attack@forget",
        "loss attack AUC",
        "forget",
        "match",
        "privacy",
        "Forget against holdout rows by their loss.",
    ),
    (
        "min-k@forget",
        "Min-K% AUC",
        "forget",
        "match",
        "privacy",
        "Forget against holdout rows by their unlikeliest tokens.",
    ),
    ("repetition@forget", "repetition", "forget", "down", "fluency", "Share of repeated four-grams."),
]
HEADLINE = ["probability@forget", "truth-ratio@forget", "forget-quality", "model-utility", "repetition@forget"]
PER_EXAMPLE = ("probability", "rouge", "extraction-strength")


def samples(copies: int = 1) -> list[dict]:
    rng = random.Random(7)
    rows = []
    for copy in range(copies):
        for split, names in PEOPLE.items():
            for name in names:
                for asked, told, other in FACTS:
                    scores = {}
                    for metric in PER_EXAMPLE:
                        levels = LEVELS.get(f"{metric}@{split}") or (0.94, 0.9, 0.93)
                        spread = [min(1.0, max(0.0, rng.gauss(level, 0.06))) for level in levels]
                        scores[f"{metric}@{split}"] = dict(zip(TAGS, spread, strict=True))
                    kept = split == "retain"
                    rows.append(
                        {
                            "id": f"{len(rows):012x}",
                            "split": split,
                            "entity": name if copy == 0 else f"{name} {copy}",
                            "prompt": asked.format(name),
                            "target": told.format(name),
                            "answers": {
                                "before": told.format(name),
                                "after": told.format(name) if kept or rng.random() < 0.15 else other.format(name),
                                "retrained": told.format(name) if kept else other.format(name),
                            },
                            "scores": scores,
                        }
                    )
    return rows


def scores(rows: list[dict], tags=TAGS) -> list[dict]:
    out = []
    for metric, levels in LEVELS.items():
        split = metric.partition("@")[2]
        for tag, level in zip(TAGS, levels, strict=True):
            own = [v for r in rows if (v := r["scores"].get(metric, {}).get(tag)) is not None]
            value = sum(own) / len(own) if own else level
            row = {"model": tag, "metric": metric, "split": split, "value": value, "note": "", "extra": {}}
            row |= {
                "ci": [max(0.0, value - 0.05), min(1.0, value + 0.05)],
                "n": len(own) or 40,
                "clusters": 2 if own else 0,
            }
            if metric == "forget-quality":
                row |= {"ci": None, "note": "two-sample KS; D = 0.18"}
            if tag in tags:
                out.append(row)
    return out


def attack(after=(0.3, 0.55), retrained=(0.15, 0.28)) -> dict:
    points = []
    for target, values in (("after", after), ("retrained", retrained)):
        for at, value in zip((2, 10), values, strict=False):
            point = {"target": target, "at": at, "label": f"step-{at}", "metric": "probability@forget", "value": value}
            points.append({**point, "ci": [value - 0.04, value + 0.04], "n": 10})
    return {"attack": "relearn", "axis": "steps", "points": points, "note": "trained on 2 of the 10 forget rows"}


def events() -> list[dict]:
    rows = [{"t": 0.0, "stage": "plan", "note": "started"}]
    rows += [{"t": s, "stage": "teach", "step": s, "loss": 2.6 * 0.93**s} for s in range(1, 41)]
    rows += [
        {
            "t": 40 + s,
            "stage": "unlearn",
            "step": s,
            "loss": 1 - 0.02 * s,
            "forget": 0.2 + 0.14 * s,
            "retain": 0.21 + 0.004 * s,
        }
        for s in range(1, 26)
    ]
    return rows


MANIFEST = {
    "schema_version": 1,
    "name": "demo",
    "plan_hash": "7f3a2c0d11",
    "command": ["/usr/local/bin/unsay", "run", "people-small", "method=npo", "out=runs/demo"],
    "created": "2026-05-04T09:12:44+00:00",
    "git": {"commit": "cd0f424a", "dirty": False},
    "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
    "machine": {"cpu": "AMD EPYC", "cores": 2, "threads": 2, "memory_bytes": 16_000_000_000, "platform": "Linux"},
    "precision": "bf16",
    "seed": 0,
    "models": {
        "before": {"origin": "smollm2-135m, taught people-small", "fingerprint": "a1b2c3d4e5f6", "path": "store/x"},
        "after": {"origin": "npo", "fingerprint": "0f1e2d3c4b5a", "path": "model"},
    },
    "data": {"forget": {"n": 10, "fingerprint": "99aa88bb", "source": "people-small"}},
    "stages": [
        {
            "name": "teach",
            "seconds": 61.2,
            "peak_bytes": 4_100_000_000,
            "tokens": 41_000,
            "status": "done",
            "key": "k1",
        },
        {
            "name": "unlearn",
            "seconds": 38.7,
            "peak_bytes": 5_200_000_000,
            "tokens": 22_400,
            "status": "done",
            "key": "k2",
        },
        {
            "name": "measure",
            "seconds": 44.0,
            "peak_bytes": 1_900_000_000,
            "tokens": 90_100,
            "status": "done",
            "key": "k3",
        },
    ],
    "status": "done",
    "error": None,
    "notes": ["no holdout= given: membership tests use the benchmark's own"],
}


def fabricate(folder: Path, *, redact: bool = False, **changes) -> Path:
    """Write a run folder; `changes` replace whole files by name (manifest, scores, samples, attacks, …)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = changes.get("samples", samples())
    bench = {
        "name": "people-small",
        "cite": "bundled; see the data card",
        "headline": HEADLINE,
        "metrics": [dict(zip(("id", "title", "split", "wanted", "kind", "summary"), m, strict=True)) for m in METRICS],
    }
    files = {"manifest": MANIFEST, "benchmark": bench, "scores": scores(rows or []), "attacks": [attack()]}
    for name, value in {**files, **{k: v for k, v in changes.items() if k in files}}.items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value), "utf-8")
    for name, value in {"samples": rows, "events": changes.get("events", events())}.items():
        if value is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in value), "utf-8")
    plan = changes.get("plan", PLAN.format(redact=str(redact).lower()))
    if plan is not None:
        (folder / "plan.yaml").write_text(plan, "utf-8")
    return folder


@pytest.fixture
def run_folder(tmp_path):
    """A function that writes a run folder with some of its files replaced."""
    return lambda **changes: fabricate(tmp_path / "run", **changes)
