"""A run's scores as ``TOFU_EVAL.json`` and ``TOFU_SUMMARY.json`` (``MUSE_…`` for muse); `open_unlearning` reads them.

Our metrics have their names there (`_ou_names`), the others keep ours. Rows are numbered by split in their order; each
says its id, and its entity where it has one. Of truth ratios on rows to keep a run knows max(0, 1 − R) and not R, so
the rows have it as ``aggregate`` and no ``score``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..report.folder import Number, RunFolder, Sample
from ._ou_names import KNOWN, name_there

AGGREGATE = "aggregate"
"""What a row counts where its own number is not known."""
_ATTACKS = ("loss-attack", "zlib-ratio", "min-k", "min-k-pp", "reference-attack", "gradient-norm")
_FIELDS = {ours.id: ours.field for ours in KNOWN.values()}
_QUALITY = "forget-quality@forget"


def evaluations(run: RunFolder) -> dict[str, Any]:
    """File name → content; with several models each has a folder of its tag.

    Args:
        run: A run with scores.
    """
    prefix = "MUSE" if run.benchmark == "muse" else "TOFU"
    found: dict[str, Any] = {}
    for tag in run.tags:
        entries = {name_there(m.id): _entry(run, tag, m.id) for m in run.metrics if (tag, m.id) in run.scores}
        below = f"{tag}/" if len(run.tags) > 1 else ""
        found[f"{below}{prefix}_EVAL.json"] = dict(sorted(entries.items()))
        summary = {name: of["agg_value"] for name, of in sorted(entries.items()) if of["agg_value"] is not None}
        found[f"{below}{prefix}_SUMMARY.json"] = summary
    return found


def _entry(run: RunFolder, tag: str, metric: str) -> dict[str, Any]:
    number: Number = run.score(tag, metric)
    entry: dict[str, Any] = {"agg_value": number.value}
    if number.note:
        entry["note"] = number.note
    if number.value is None:
        return entry
    base, _, split = metric.partition("@")
    by_split = _values(run, tag, metric)
    if base in _ATTACKS and len(by_split) == 2 and split in by_split:
        (others,) = (name for name in by_split if name != split)
        entry["auc"] = number.value
        for name, part in (("forget", split), ("holdout", others)):
            # There a higher score is a stranger, here it is a member.
            signals = by_split[part]
            entry[name] = {
                "agg_value": -sum(value for _, value in signals.values()) / len(signals),
                "value_by_index": {i: {"score": -value, **_about(sample)} for i, (sample, value) in signals.items()},
            }
        return entry
    if base in ("forget-quality", "privleak"):  # no mean of rows there
        return entry
    rows = by_split.get(split) or (next(iter(by_split.values())) if len(by_split) == 1 else {})
    if rows:
        ratios = _values(run, tag, _QUALITY).get(split, {}) if metric == "truth-ratio@forget" else {}
        entry["value_by_index"] = {i: _row(metric, tag, *of, ratios.get(i)) for i, of in rows.items()}
    return entry


def _values(run: RunFolder, tag: str, metric: str) -> dict[str, dict[str, tuple[Sample, float]]]:
    """Split → number of the row in it → the row and its value."""
    found: dict[str, dict[str, tuple[Sample, float]]] = {}
    counts: dict[str, int] = {}
    for sample in run.samples:
        at = counts[sample.split] = counts.get(sample.split, -1) + 1
        value = sample.scores.get(metric, {}).get(tag)
        if value is not None:
            found.setdefault(sample.split, {})[str(at)] = (sample, value)
    return found


def _row(metric: str, tag: str, sample: Sample, value: float, ratio: tuple[Sample, float] | None) -> dict[str, Any]:
    about = _about(sample)
    if metric.startswith("truth-ratio@"):
        return {"score": math.exp(ratio[1]), **about} if ratio else {AGGREGATE: value, **about}
    row: dict[str, Any] = {_FIELDS.get(metric) or "score": value, **about}
    if metric.startswith("rouge"):
        row |= {"input": sample.prompt, "ground_truth": sample.target, "generation": sample.answers.get(tag, "")}
    return row


def _about(sample: Sample) -> Mapping[str, str]:
    return {"id": sample.id, **({"entity": sample.entity} if sample.entity else {})}
