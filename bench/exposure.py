"""Exposure of 100 rows among 2,000 references on SmolLM2-135M: ``python bench/exposure.py``.

The texts are TOFU's. All of them are scored by one forward each, for three metrics; a tenth of them also by the plain
loop of evaluate_yardstick.py, and by us again, so that there is a ratio.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from unsay.data.read import read_rows
from unsay.measure.evaluator import Evaluator
from unsay.metrics.exposure import Exposure
from unsay.metrics.relex import Relex
from unsay.models.lm import LM
from unsay.runs.store import Store

if __package__:
    from . import evaluate_yardstick as yardstick
else:
    import evaluate_yardstick as yardstick

METRICS = (Exposure(), Exposure(estimator="skew-normal", label="fitted-exposure"), Relex())


def measure(forget=100, references=2000, model="smollm2-135m"):
    """Seconds of the whole, and of a tenth on both sides, as one JSON-able dict.

    Args:
        forget: Rows whose exposure is asked for.
        references: Rows that they are ranked among.
        model: What is evaluated.
    """
    rows = read_rows(str(Path(os.environ["UNSAY_DATA"]) / "tofu" / "full.jsonl"), name="full")[: forget + references]
    lm = LM.load(model)
    whole, scoring, scores = _ours(lm, rows[:forget], rows[forget:])
    tenth = rows[::10]
    part, _, _ = _ours(lm, tenth[: forget // 10], tenth[forget // 10 :])
    began = time.perf_counter()
    encoded = lm.template.encode_many([(row.prompt, row.answer) for row in tenth])
    yardstick._sweep(lm.model, encoded, [row.answer for row in tenth], lm.template.pad_id, yardstick._mean)
    plain = time.perf_counter() - began
    return {
        **{"forget": forget, "references": references, "seconds": whole, "scoring_seconds": scoring},
        "tenth": {"ours": part, "yardstick": plain},
        "scores": {name: [score.value, score.ci] for name, score in scores.items()},
    }


def _ours(lm, forget, references):
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        judge = Evaluator({"forget": forget, "holdout": references}, METRICS, store=Store(Path(folder)))
        judge.measure("subject", lm)
        measured = time.perf_counter()
        scores = judge.scores()["subject"]
        return measured - began, time.perf_counter() - measured, scores


def table(found):
    """`measure`'s result in Markdown."""
    tenth = found["tenth"]
    return (
        f"{found['forget']} forget rows and {found['references']:,} references, one forward each: "
        f"{found['seconds']:.0f} s, and {found['scoring_seconds']:.0f} s for three metrics with their intervals. The "
        f"forwards of a tenth of the rows: {tenth['ours']:.1f} s, yardstick {tenth['yardstick']:.1f} s, "
        f"**{tenth['yardstick'] / tenth['ours']:.1f}×**."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forget", type=int, default=100)
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    result = measure(arguments.forget, arguments.references, arguments.model)
    print(json.dumps(result, indent=1))
    print(table(result))
