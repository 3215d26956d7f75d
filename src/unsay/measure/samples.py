"""Rows of samples.jsonl: one example, what each model answers, what each metric makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..data.example import Example
from ..metrics import have
from ..metrics.needs import Generations, Need
from ..metrics.score import Metric, Score

Answers = Mapping[Need, have.Answers]


def sample_rows(
    splits: Mapping[str, Sequence[Example]],
    metrics: Mapping[str, Metric],
    answers: Mapping[str, Answers],
    scores: Mapping[str, Mapping[str, Score]],
) -> list[dict[str, Any]]:
    """Every example of every split, in order.

    Args:
        splits: Rows by split.
        metrics: By id.
        answers: Tag → need → what the model gave.
        scores: Tag → metric id → score.

    Returns:
        Rows of id, split, entity, prompt, target, ``answers`` {tag: text}, ``scores`` {metric id: {tag: value}} and
        ``labels`` {metric id: {tag: word}}; a value that is not finite is None.
    """
    texts = {tag: {split: _texts(given, split) for split in splits} for tag, given in answers.items()}
    homes = {name: _homes(metric, splits) for name, metric in metrics.items()}
    rows = []
    for split, examples in splits.items():
        for example in examples:
            found: dict[str, dict[str, float | None]] = {}
            words: dict[str, dict[str, str]] = {}
            for tag, by_metric in scores.items():
                for name, score in by_metric.items():
                    if example.id in score.per_example and homes[name].get(example.id) == split:
                        value = float(score.per_example[example.id])
                        found.setdefault(name, {})[tag] = value if math.isfinite(value) else None
                        if example.id in score.labels:
                            words.setdefault(name, {})[tag] = score.labels[example.id]
            rows.append(
                {
                    "id": example.id,
                    "split": split,
                    "entity": example.entity,
                    "prompt": example.question,
                    "target": example.answer,
                    "answers": {t: by[split][example.id] for t, by in texts.items() if example.id in by[split]},
                    "scores": found,
                    "labels": words,
                }
            )
    return rows


def _texts(answers: Answers, split: str) -> dict[str, str]:
    """The longest generations there are for the prompts of a split, by example id; greedy ones if there are any."""
    needs = [n for n in answers if isinstance(n, Generations) and (n.split, n.prompt) == (split, "prompt")]
    if not needs:
        return {}
    need = max(needs, key=lambda n: (n.sampling is None, n.max_new_tokens))
    return {row: str(given[0]) for row, given in answers[need].items()}


def _homes(metric: Metric, splits: Mapping[str, Sequence[Example]]) -> dict[str, str]:
    """The split that a metric's value of an example belongs to: the first it reads that has the example."""
    homes: dict[str, str] = {}
    for split in dict.fromkeys(need.split for need in metric.needs):
        for example in splits.get(split, ()):
            homes.setdefault(example.id, split)
    return homes
