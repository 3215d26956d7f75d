"""One example at a time as a page, from precise.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from .. import stats
from .experiment import Part, Table, write_page
from .sequential import CHANCE, EFFECT, LEAKS, rate_name, share, subjects_said, value
from .text import interval, number, seconds

Scores = Mapping[str, Mapping[str, Any]]
_NEAR = {
    f"{EFFECT}@forget": "forgetting effect, the row",
    CHANCE: "probability, the row",
    "probability-asked-otherwise@forget": "probability, asked otherwise",
    f"{EFFECT}@subject": "forgetting effect, same subject",
    "probability@subject": "probability, same subject",
    "rouge@subject": "ROUGE-L recall, same subject",
    "refusal-rate@subject": "refusals, same subject",
    "probability@retain": "probability, retain",
}


def write_precise(folder: Path) -> Path:
    """Write precise.md and precise.html beside precise.json; returns the latter's path."""
    found = json.loads((folder / "precise.json").read_text(encoding="utf-8"))
    rows = found["rows"]
    count = len({row["subject"] for row in rows})
    about = (
        f"{len(rows)} rows of {count} subjects, each forgotten alone from the model before. "
        f"{subjects_said(found, len(rows))}Numbers are means over these trials, with 95 % intervals by subject. "
        "*Same subject* are the other forget rows about the row's subject: they were not to be forgotten, and "
        "their forgetting effect should stay where it was. "
        "*Over-forgetting* is how much of the forgetting gained on the row they gained, too: 0 is precise, 1 "
        "forgets the subject. *Utility* is a share of the model before's."
    )
    parts = [Part("Results", [about], tables=[_near(found), *_leaks(found), *_rates(found)])]
    return write_page(folder, "precise", "One example to forget, and what goes with it", _said(found), parts)


def over_forgetting(rows: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]) -> float:
    """What the same subject's other rows gained of forgetting, as a share of what the rows did; NaN: they did not."""
    gains = {split: fmean(_gain(row, trial, split) for row, trial in _pairs(rows, trials)) for split in _SPLITS}
    return gains["subject"] / gains["forget"] if gains["forget"] > 0 else math.nan


_SPLITS = ("forget", "subject")


def _gain(row: Mapping[str, Any], trial: Mapping[str, Any], split: str) -> float:
    name = f"{EFFECT}@{split}"
    return value(trial["scores"], name) - value(row["before"], name)


def _pairs(
    rows: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Rows with their trials, those in which the model broke left out."""
    return [(row, trial) for row, trial in zip(rows, trials, strict=True) if "scores" in trial]


def _mean(rows: Sequence[Mapping[str, Any]], every: Sequence[Scores], name: str, *, of_before: bool = False) -> str:
    """Mean and interval of a metric over trials; with `of_before`, of its share of what it was."""
    levels = [value(scores, name) for scores in every]
    if of_before:
        levels = [share(scores, row["before"], name) for row, scores in zip(rows, every, strict=True)]
    known = {row["id"]: level for row, level in zip(rows, levels, strict=True) if math.isfinite(level)}
    if not known:
        return "–"
    found = stats.mean(known, {row["id"]: str(row["subject"]) for row in rows})
    return f"{number(found.value)} {interval(found.ci, 2)}".strip()


def _near(found: Mapping[str, Any]) -> Table:
    rows, name = found["rows"], found["utility"]
    before = [row["before"] for row in rows]
    lines = [["before", *(_mean(rows, before, metric) for metric in _NEAR), "", "", "", ""]]
    for walk in found["walks"]:
        pairs = _pairs(rows, walk["trials"])
        if not pairs:
            continue
        kept, every = [row for row, _ in pairs], [trial["scores"] for _, trial in pairs]
        label = walk["method"] if len(pairs) == len(rows) else f"{walk['method']} ({len(rows) - len(pairs)} broke)"
        changed = [trial["changed_share"] for _, trial in pairs if "changed_share" in trial]
        lines.append(
            [
                label,
                *(_mean(kept, every, metric) for metric in _NEAR),
                number(over_forgetting(rows, walk["trials"])),
                _mean(kept, every, name, of_before=True),
                seconds(median(trial["seconds"] for _, trial in pairs)),
                f"{100 * fmean(changed):.2f} %" if changed else "",
            ]
        )
    heads = ["", *_NEAR.values(), "over-forgetting", "utility", "time a row", "weights changed"]
    return Table("Means over the rows", heads, lines)


def _leaks(found: Mapping[str, Any]) -> list[Table]:
    """What comes back of the rows under attacks on the first token; nothing where it was not measured."""
    rows = found["rows"]
    heads = list(dict.fromkeys(label for row in rows for label in row.get("leaks", ())))
    if not heads:
        return []
    lines = [["before", *(_mean(rows, [row["leaks"] for row in rows], head) for head in heads)]]
    for walk in found["walks"]:
        pairs = [(row, trial["leaks"]) for row, trial in _pairs(rows, walk["trials"]) if "leaks" in trial]
        if pairs:
            kept, every = [row for row, _ in pairs], [leaks for _, leaks in pairs]
            lines.append([walk["method"], *(_mean(kept, every, head) for head in heads)])
    caption = "Probability of the rows' answers when the first token cannot stand in their way; compare with before"
    return [Table(caption, ["", *(LEAKS.get(head, head) for head in heads)], lines)]


def _rates(found: Mapping[str, Any]) -> list[Table]:
    """How often the unlearning token comes first; nothing where no model has one."""
    lines: list[list[str]] = []
    names: list[str] = []
    for walk in found["walks"]:
        pairs = _pairs(found["rows"], walk["trials"])
        every = [trial["scores"] for _, trial in pairs]
        names = names or list(dict.fromkeys(n for s in every for n in s if n.startswith("token-rate")))
        cells = [_mean([row for row, _ in pairs], every, name) for name in names]
        if any(cell != "–" for cell in cells):
            lines.append([walk["method"], *cells])
    caption = "Share of questions whose first token is the unlearning token"
    return [Table(caption, ["", *map(rate_name, names)], lines)] if lines else []


def _said(found: Mapping[str, Any]) -> list[str]:
    words = []
    for walk in found["walks"]:
        pairs = _pairs(found["rows"], walk["trials"])
        if not pairs:
            words.append(f"`{walk['method']}` broke the model on every row.")
            continue
        gain = fmean(_gain(row, trial, "forget") for row, trial in pairs)
        near = fmean(_gain(row, trial, "subject") for row, trial in pairs)
        over = number(over_forgetting(found["rows"], walk["trials"]))
        words.append(
            f"`{walk['method']}`: the forgetting effect of the row rises by {number(gain)}, that of the same subject's "
            f"other questions by {number(near)} (over-forgetting {over})."
        )
    return words
