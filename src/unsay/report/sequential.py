"""Requests one after another as a page, from sequential.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from .experiment import Part, Picture, Table, write_page
from .text import interval, number, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EFFECT, CHANCE = "forgetting-effect", "probability@forget"
LEAKS = {"banned": "tokens banned", "the-answer-is": "begun: The answer is", "own": "begun in its own words"}
"""Label of a probe → head of its column."""
_SIGNS = ("rouge", "probability", "truth-ratio", "cosine", "entailment")
Scores = Mapping[str, Mapping[str, Any]]


def write_sequential(folder: Path) -> Path:
    """Write sequential.svg, sequential.md and sequential.html beside sequential.json; returns the last one's path."""
    found = json.loads((folder / "sequential.json").read_text(encoding="utf-8"))
    _draw(found, folder / "sequential.svg")
    count, size, name = found["requests"], found["rows"], found["utility"]
    first = found["before"][name]
    named = name.replace("-", " ")
    about = (
        f"{count} requests of {size} rows. {subjects_said(found, count * size)}"
        "*Forgotten* is the forgetting effect of a request's rows: 1 − the mean of five signs of knowledge. "
        "*Still forgotten* is the share of what the first request had gained over the model before that is left after "
        "the last one; 1 is all of it. *Utility* is a share of "
        f"{number(first['value'])}, that of the model before ({named}, n = {first['n']}). In brackets, 95 % "
        "intervals."
    )
    picture = Picture("sequential.svg", "Forgetting of the first, the made and the open requests, and utility")
    tables = [_summary(found), signs_table({"before": found["before"], **_ends(found)})]
    more = [leak_table(_leaks(found)), rate_table(_ends(found))]
    part = Part("Results", [about], [picture], [*tables, *(table for table in more if table)])
    return write_page(folder, "sequential", "Requests to forget, one after another", _said(found), [part])


def subjects_said(found: Mapping[str, Any], rows: int) -> str:
    """A sentence: how many entities `rows` rows are about, and how many name no subject for an edit to hang on."""
    if "entities" not in found:
        return ""
    count, without = found["entities"], found["without_subject"]
    entities = f"They are about {count} {'entity' if count == 1 else 'entities'}"
    return (
        f"{entities}, and {without} of {rows} ({100 * without / rows:.0f} %) name no subject, so that an edit hangs on "
        "the last token of their question. "
    )


def still_forgotten(before: Scores, steps: Sequence[Mapping[str, Any]]) -> float:
    """Share of what the first request gained over `before` that is left after the last step; NaN: it gained nothing."""
    name = f"{EFFECT}@request-1"
    start, gained, left = (value(scores, name) for scores in (before, steps[0]["scores"], steps[-1]["scores"]))
    return (left - start) / (gained - start) if gained > start else math.nan


def value(scores: Scores, name: str) -> float:
    """A metric's value, NaN where it has none."""
    found = scores.get(name, {}).get("value")
    return math.nan if found is None else float(found)


def cell(scores: Scores, name: str) -> str:
    """A metric's value with its interval."""
    ci = scores.get(name, {}).get("ci")
    return f"{number(value(scores, name))} {interval(tuple(ci) if ci else None, 2)}".strip()


def signs_table(rows: Mapping[str, Scores], split: str = "forget") -> Table:
    """The forgetting effect of `split` with its five parts."""
    lines = []
    for label, scores in rows.items():
        effect = scores.get(f"{EFFECT}@{split}", {})
        parts = [number(effect.get("extra", {}).get(sign)) for sign in _SIGNS]
        lines.append([label, cell(scores, f"{EFFECT}@{split}"), *parts])
    notes = {scores.get(f"{EFFECT}@{split}", {}).get("note", "") for scores in rows.values()} - {""}
    caption = "The forgetting effect and its five signs of knowledge (a broken model has none of them, either)"
    return Table("; ".join([caption, *sorted(notes)]), ["", "forgetting effect", *_SIGNS], lines)


def leak_table(rows: Mapping[str, Scores]) -> Table | None:
    """Probability of the answers under the attacks of `_contenders.leaks`, by model; None where nothing was leaking."""
    heads = list(dict.fromkeys(label for found in rows.values() for label in found))
    lines = [[label, *(cell(found, head) for head in heads)] for label, found in rows.items() if found]
    caption = "Probability of the answers when the first token cannot stand in their way; compare with the model before"
    return Table(caption, ["", *(LEAKS.get(head, head) for head in heads)], lines) if lines else None


def rate_table(rows: Mapping[str, Scores]) -> Table | None:
    """How often the unlearning token comes first, on and off target; None where no model has one."""
    names = list(dict.fromkeys(name for scores in rows.values() for name in scores if name.startswith("token-rate")))
    lines = [
        [label, *(cell(scores, name) for name in names)]
        for label, scores in rows.items()
        if any(math.isfinite(value(scores, name)) for name in names)
    ]
    if not lines:
        return None
    caption = "Share of questions whose first token is the unlearning token"
    return Table(caption, ["", *map(rate_name, names)], lines)


def rate_name(name: str) -> str:
    """The head of a token rate's column."""
    return name.removeprefix("token-rate").strip("-@").replace("@", ", ")


def _ends(found: Mapping[str, Any]) -> dict[str, Scores]:
    """The last model of each walk, and the batch."""
    ends: dict[str, Scores] = {}
    for walk in found["walks"]:
        steps = _whole(walk)
        if steps:
            ends[f"{walk['method']}, one after another"] = steps[-1]["scores"]
        if "scores" in walk["batch"]:
            ends[f"{walk['method']}, batch"] = walk["batch"]["scores"]
    return ends


def _leaks(found: Mapping[str, Any]) -> dict[str, Scores]:
    """What leaks before, at the end of each walk, and after the batch."""
    leaks: dict[str, Scores] = {"before": found.get("leaks", {})}
    for walk in found["walks"]:
        steps = _whole(walk)
        leaks[f"{walk['method']}, one after another"] = steps[-1].get("leaks", {}) if steps else {}
        leaks[f"{walk['method']}, batch"] = walk["batch"].get("leaks", {})
    return leaks


def _whole(walk: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [step for step in walk["steps"] if "scores" in step]


def _summary(found: Mapping[str, Any]) -> Table:
    heads = ["", "1st request, at once", "1st request, at the end", "still forgotten", "all, at the end"]
    heads += ["probability, all", "utility", "time a request", "weights changed"]
    name, before, lines = found["utility"], found["before"], []
    for walk in found["walks"]:
        steps, first = _whole(walk), f"{EFFECT}@request-1"
        if steps:
            end = steps[-1]["scores"]
            made = len(steps)
            lines.append(
                [
                    f"{walk['method']}, one after another" + ("" if made == found["requests"] else f" (of {made})"),
                    cell(steps[0]["scores"], first),
                    cell(end, first),
                    number(still_forgotten(before, steps)),
                    cell(end, f"{EFFECT}@forget"),
                    cell(end, CHANCE),
                    _share(end, before, name),
                    seconds(median(step["seconds"] for step in steps)),
                    _changed(steps[-1]),
                ]
            )
        batch = walk["batch"]
        if "scores" in batch:
            end = batch["scores"]
            line = [f"{walk['method']}, batch", cell(end, first), "", "", cell(end, f"{EFFECT}@forget")]
            line += [cell(end, CHANCE), _share(end, before, name), seconds(batch["seconds"]), _changed(batch)]
            lines.append(line)
    return Table("Forgetting and utility", heads, lines)


def share(scores: Scores, before: Scores, name: str) -> float:
    """A metric as a share of what it was before, NaN where it was nothing."""
    return value(scores, name) / value(before, name) if value(before, name) > 0 else math.nan


def _share(scores: Scores, before: Scores, name: str) -> str:
    return f"× {number(share(scores, before, name))}"


def _changed(step: Mapping[str, Any]) -> str:
    return f"{100 * step['changed_share']:.2f} %" if "changed_share" in step else ""


def _said(found: Mapping[str, Any]) -> list[str]:
    """One sentence a method."""
    words = []
    for walk in found["walks"]:
        steps = _whole(walk)
        if not steps:
            words.append(f"`{walk['method']}` broke the model at its first request.")
            continue
        kept = still_forgotten(found["before"], steps)
        left = share(steps[-1]["scores"], found["before"], found["utility"])
        stop = "" if len(steps) == found["requests"] else f", where the model broke (of {found['requests']})"
        plural = "s" if len(steps) > 1 else ""
        words.append(
            f"`{walk['method']}`: after {len(steps)} request{plural}{stop}, {number(kept)} of the first one's "
            f"forgetting is left, and × {number(left)} of the utility."
        )
    return words


def _draw(found: Mapping[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    walks = found["walks"]
    columns = min(2, len(walks))
    rows = math.ceil(len(walks) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, walk in zip(grid, walks, strict=False):
        _panel(axes, walk, found)
    for axes in grid[len(walks) :]:
        axes.set_axis_off()
    grid[0].legend(frameon=False, fontsize=7)
    figure.savefig(file, metadata={"Date": None})


def _panel(axes: Axes, walk: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    steps, count, name = _whole(walk), found["requests"], found["utility"]
    at = [step["request"] for step in steps]

    def effects(scores: Scores, numbers: range) -> float:
        every = [value(scores, f"{EFFECT}@request-{i}") for i in numbers]
        return fmean(every) if every else math.nan

    lines = {
        "first request": ([value(s["scores"], f"{EFFECT}@request-1") for s in steps], "#1b5e8c", "-o"),
        "requests made": ([effects(s["scores"], range(1, s["request"] + 1)) for s in steps], "#1b5e8c", "--"),
        "requests to come": ([effects(s["scores"], range(s["request"] + 1, count + 1)) for s in steps], "#b3261e", ":"),
        "utility, share": ([share(s["scores"], found["before"], name) for s in steps], "#555555", "-s"),
    }
    for label, (points, colour, style) in lines.items():
        axes.plot(at, points, style, color=colour, linewidth=1, markersize=3, label=label)
    axes.set_ylim(-0.02, 1.05)
    axes.set_title(walk["method"], fontsize=10)
    axes.set_xlabel("requests made")
    axes.set_ylabel("forgetting effect")
