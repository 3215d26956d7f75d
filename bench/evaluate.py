"""How fast we evaluate against the plain loop of evaluate_yardstick.py: ``python bench/evaluate.py``.

Probability, truth ratio, exact memorisation, extraction strength and four membership tests on TOFU-type splits. Both
sides see the same model and rows, in one process, in turns (ours, yardstick, ours), so that a busy machine troubles
both alike. CPU seconds are counted beside wall seconds; on an idle machine their ratios agree.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from unsay.benchmarks.tofu import Tofu
from unsay.measure.evaluator import Evaluator
from unsay.metrics.exact_memorization import ExactMemorization
from unsay.metrics.extraction_strength import ExtractionStrength
from unsay.metrics.loss_attack import LossAttack
from unsay.metrics.min_k import MinK
from unsay.metrics.min_k_pp import MinKPp
from unsay.metrics.probability import Probability
from unsay.metrics.truth_ratio import TruthRatio
from unsay.metrics.zlib_ratio import ZlibRatio
from unsay.models.lm import LM
from unsay.runs.manifest import machine
from unsay.runs.store import Store

if __package__:
    from . import evaluate_yardstick as yardstick
else:
    import evaluate_yardstick as yardstick

METRICS = (
    *(Probability(split=split) for split in ("forget", "retain")),
    *(Probability(split=split, choices=True) for split in ("real-authors", "world-facts")),
    TruthRatio(split="forget", aggregate="forget"),
    *(TruthRatio(split=split, aggregate="utility") for split in ("retain", "real-authors", "world-facts")),
    *(ExactMemorization(split=split) for split in ("forget", "retain")),
    *(ExtractionStrength(split=split) for split in ("forget", "retain")),
    LossAttack(),
    ZlibRatio(),
    MinK(),
    MinKPp(),
)


def measure(rows=40, model="smollm2-135m"):
    """Seconds of both sides and their ratio, as one JSON-able dict.

    Args:
        rows: Most rows of each split.
        model: What is evaluated.
    """
    benchmark = Tofu(split="forget01", taught_rows="forget10", holdout_authors=2, retain_limit=rows)
    splits = {name: list(split[:rows]) for name, split in benchmark.splits().items()}
    lm = LM.load(model)
    ours, plain, tokens = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            if turn == 1:
                values = yardstick.evaluate(lm.model, lm.template, splits)
            else:
                judge = Evaluator(splits, METRICS, store=Store(Path(folder) / str(turn)))
                judge.measure("subject", lm)
                tokens = judge.effort("subject").tokens
            spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            (plain if turn == 1 else ours).append(spent)
        scores = judge.scores()["subject"]
    mean = {kind: float(np.mean([spent[kind] for spent in ours])) for kind in ("wall", "cpu")}
    agreement = {
        name: [scores[name].value, float(np.mean(values[name]))]
        for name in ("probability@forget", "exact-memorization@forget", "extraction-strength@forget")
    }
    return {
        "rows": {name: len(split) for name, split in splits.items()},
        "tokens": tokens,
        "seconds": {"ours": mean, "yardstick": plain[0]},
        "ratio": {kind: plain[0][kind] / mean[kind] for kind in mean},
        "agreement": agreement,
        "full": full(lm),
        "machine": dataclasses.asdict(machine(torch.get_num_threads())),
    }


def full(lm):
    """One whole TOFU evaluation with every metric of the benchmark, generations included."""
    benchmark = Tofu(split="forget01", taught_rows="forget10", holdout_authors=2, retain_limit=100, max_new_tokens=100)
    splits = benchmark.splits()
    with tempfile.TemporaryDirectory() as folder:
        judge = Evaluator(splits, benchmark.metrics(), store=Store(Path(folder)))
        began = time.perf_counter()
        judge.measure("before", lm)
        measured = time.perf_counter()
        scores = judge.scores()["before"]
    return {
        "rows": {name: len(split) for name, split in splits.items()},
        "metrics": len(scores),
        "unscored": [name for name, score in scores.items() if not score.scored],
        "seconds": measured - began,
        "scoring_seconds": time.perf_counter() - measured,
        "sweeps": str(judge.effort("before")),
    }


def table(found):
    """`measure`'s result in Markdown."""
    lines = ["| | seconds | CPU seconds |", "| --- | ---: | ---: |"]
    for side in ("yardstick", "ours"):
        spent = found["seconds"][side]
        lines.append(f"| {side} | {spent['wall']:.1f} | {spent['cpu']:.1f} |")
    lines.append(f"| **ratio** | **{found['ratio']['wall']:.1f}×** | {found['ratio']['cpu']:.1f}× |")
    whole = found["full"]
    rows = ", ".join(f"{count} {name}" for name, count in whole["rows"].items())
    lines += [
        "",
        f"One whole TOFU evaluation ({rows}; {whole['metrics']} metrics, answers of at most 100 tokens): "
        f"{whole['seconds']:.0f} s and {whole['scoring_seconds']:.0f} s for the scores with their intervals; "
        f"{whole['sweeps']}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    result = measure(arguments.rows, arguments.model)
    print(json.dumps(result, indent=1))
    print(table(result))
