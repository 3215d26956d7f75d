"""Whether the rows that were expected to be costly were: forecast.json against what the run measured, in sentences."""

from __future__ import annotations

import json
import math

from .folder import RunFolder
from .ranks import correlation, permutation_p
from .text import number, percent

_LEAST = 8
"""Fewest rows that a rank correlation is worth saying of."""


def forecast_lines(run: RunFolder) -> list[str]:
    """Sentences for the page; none where nothing was forecast."""
    file = run.dir / "forecast.json"
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        rows = {str(i): row for i, row in found.get("rows", {}).items()}
    except (ValueError, AttributeError):
        return [f"{file.name} cannot be read: what was expected of the rows is unknown."]
    if not rows:
        return [f"No forecast of costly rows: {found['note']}."] if found.get("note") else []
    left = _left(run)
    shared = sorted(rows.keys() & (left or {}).keys())
    lines = []
    if left is None:
        lines.append(
            "The forecast of costly rows cannot be checked: without a retrained model nothing says how far each row "
            "had to go."
        )
    elif len(shared) < _LEAST:
        lines.append(f"The forecast of costly rows cannot be checked: {len(shared)} rows have both numbers.")
    else:
        scores, remains = [float(rows[i]["score"]) for i in shared], [left[i] for i in shared]
        rho = correlation(scores, remains)
        if not math.isfinite(rho):
            lines.append("The forecast of costly rows cannot be checked: the rows do not differ.")
        else:
            p = permutation_p(scores, remains)
            verdict = "undecided" if p >= 0.05 else "it held" if rho > 0 else "it was the other way round"
            lines.append(
                f"Forecast: rows less like the retain rows were expected to need more steps; {verdict}. Rank "
                "correlation of their OOD score with the loss that is left to go to the retrained model's, nats per "
                f"token: {number(rho)} (n = {len(shared)}, permutation p = {number(p)})."
            )
    cost = sum(float(rows[i]["cost"]) for i in rows) / len(rows)
    before, after = (run.score(tag, "probability@retain").value for tag in ("before", "after"))
    if before and after is not None:
        lines.append(
            f"Expected utility cost: {number(cost, 1)} times that of rows like the retain rows. Of the probability "
            f"of retain answers {percent(1 - after / before)} was lost; one run cannot tell what other rows would "
            "have cost."
        )
    return lines


def _left(run: RunFolder) -> dict[str, float] | None:
    """Loss of each forget row under the retrained model less that after, nats per token; None without such a model.

    The loss before is in no part of it, nor does it choose the rows: scores are made of that one, and would correlate
    with it by themselves.
    """
    tables: dict[str, dict[str, float]] = {"after": {}, "retrained": {}}
    for sample in run.samples:
        if sample.split == "forget":
            for tag, table in tables.items():
                p = sample.scores.get("probability@forget", {}).get(tag)
                if p is not None and p > 0:
                    table[sample.id] = -math.log(p)
    after, control = tables.values()
    return {i: control[i] - after[i] for i in after.keys() & control.keys()} if control else None
