"""An audit's rows in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .text import number, percent, sentence_list
from .verdict import FEW

Row = Mapping[str, Any]
WORDS = {
    "leak": "leak",
    "over": "over-forgotten",
    "none": "no excess",
    "undecided": "undecided",
    "inconclusive": "inconclusive",
}
_UNLIKE = 0.1
"""From ½: an AUC of a model that saw neither kind of rows, which tells that they are not alike."""
_PLAIN = ("none", "membership")
"""What is no attack with strengths."""


def verdict(row: Row) -> str:
    """A row's status in words; what rose clearly, from below the control to no more than the control, is no leak."""
    if row["status"] == "none" and row.get("ci") and row["ci"][0] > 0 and row["excess"] >= row["margin"]:
        return "not above the control"
    return WORDS[row["status"]]


def headline(found: Mapping[str, Any]) -> str:
    """The audit in one sentence."""
    rows, worst = found["rows"], found["rows"][0] if found["rows"] else {}
    leaks = sum(row["status"] == "leak" for row in rows)
    if found["status"] == "leak":
        more = f" {leaks - 1} more leak{'s' * (leaks > 2)} below." if leaks > 1 else ""
        return f"It still knows. {title(worst)}.{more}"
    if found["status"] == "over":
        return f"No leak found, but the rows were pushed too far. {title(worst)}."
    if found["status"] == "clear":
        return "No attack of this audit found more than in a model that never saw the rows."
    if found["status"] == "partly":
        return "No leak found, but some attacks could not decide."
    return "This audit decides nothing: see which controls are missing."


def title(row: Row) -> str:
    """A row in a few words."""
    share, name = row.get("share"), metric(row)
    if row["status"] == "leak":
        part = percent(share) if share is not None else "part"
        if row["attack"] == "none":
            return f"Without any attack {part} of what there was to forget is still there by {name}"
        verb = {"inside": "reads", "membership": "shows"}.get(row["kind"], "brings back")
        return f"{place(row)} {verb} {part} of what there was to forget by {name}"
    if row["status"] == "over":
        return f"By {name} the model lies below one that never saw the rows, which marks them as well"
    return f"{place(row)} by {name}: {verdict(row)}"


def sentence(row: Row) -> str:
    """A row with its numbers."""
    levels, start = row.get("levels") or {}, row.get("start") or {}
    said = [f"{title(row)}."]
    who = sentence_list(
        f"{way(start.get(tag), levels[tag])} in the {name}"
        for tag, name in (("after", "model"), ("control", "control"), ("before", "model before"))
        if tag in levels
    )
    said += [f"{who[:1].upper()}{who[1:]}."] if who else []
    if row["count"] > 1:
        said.append(f"Of each example the {row['how']} of {row['count']} counts, on every model alike.")
    if row.get("excess") is not None:
        ci = row.get("ci")
        text = f"Excess {number(row['excess'])}"
        text += f", 95 % interval {number(ci[0])} to {number(ci[1])}" if ci else ""
        text += f", margin ±{number(row['margin'])}" if row.get("margin") else ""
        said.append(f"{text}; {_p(row)}n = {size(row)}.")
    if row.get("start") and row.get("recovered") is not None:
        ci = row.get("recovered_ci")
        spread = f" [{percent(ci[0])}, {percent(ci[1])}]" if ci else ""
        said.append(f"Under the attack {percent(row['recovered'])}{spread} of it is there beyond the control.")
    if row.get("why"):
        said.append(f"Inconclusive: {row['why']}.")
    if row["status"] == "undecided" and row.get("needs"):
        least = f"; these find differences from {number(row['mde'])}" if row.get("mde") else ""
        said.append(f"About {row['needs']} rows would show that nothing is left, if nothing is{least}.")
    control = levels.get("control")
    if row["kind"] == "membership" and control is not None and abs(control - 0.5) > _UNLIKE:
        said.append(f"The rows differ by themselves (AUC of the control {number(control)}): read the difference alone.")
    if row.get("of_the_control_alone") and row["kind"] not in ("membership",):
        said.append("Nobody was asked this without the attack: the difference is to the control alone.")
    return " ".join([*said, *_whole(row)])


def metric(row: Row) -> str:
    """A row's metric in words."""
    base = str(row["metric"]).partition("@")[0]
    return str(row.get("unit") or "what is read inside") if base == "reading" else base.replace("-", " ")


def place(row: Row) -> str:
    """Attack and strength: ``Quantisation (nf4)``."""
    name = "the model as it is" if row["attack"] == "none" else str(row["attack"])
    strength = "" if row["attack"] in _PLAIN else f" ({row['label']})"
    return f"{name[:1].upper()}{name[1:]}{strength}"


def way(start: float | None, end: float) -> str:
    """Unattacked → attacked."""
    return number(end) if start is None else f"{number(start)} → {number(end)}"


def _p(row: Row) -> str:
    if row.get("p") is None:
        return ""
    rest = ", declared beforehand" if row.get("primary") else f" ({number(row.get('p_holm'))} by Holm)"
    return f"p = {number(row['p'])}{rest}; "


def size(row: Row) -> str:
    """Rows and entities, with a warning where these are few."""
    clusters = row.get("clusters") or 0
    text = f"{row['n']} row{'s' * (row['n'] != 1)}"
    few = f"; fewer than {FEW}, so this says nothing about others" if 0 < clusters < FEW else ""
    return f"{text} of {clusters} entit{'y' if clusters == 1 else 'ies'}{few}" if clusters else text


def _whole(row: Row) -> list[str]:
    whole: Mapping[str, Any] | None = row.get("whole")
    if not whole:
        return []
    if not whole["seen"]:
        upper = f", which leaves up to {percent(whole['upper'])} at 95 %" if whole.get("upper") is not None else ""
        return [f"No answer of {whole['n']} came out whole{upper}."]
    control = f"; in the control {whole['control']}" if whole.get("control") is not None else ""
    return [f"{whole['seen']} of {whole['n']} answers came out whole{control}."]


def findings(bad: Sequence[Row]) -> Iterator[str]:
    """The largest of each attack in full, the others by their names."""
    groups: dict[str, list[Row]] = {}
    for row in bad:
        groups.setdefault(row["attack"], []).append(row)
    for first, *others in groups.values():
        more = sentence_list(f"{_briefly(row)}{_share(row)}" for row in others)
        yield sentence(first) + (f" The same: {more}." if more else "")


def _briefly(row: Row) -> str:
    """What tells a row from others of its attack."""
    if row["attack"] in _PLAIN:
        return metric(row)
    return row["label"] if row["kind"] == "inside" else f"{metric(row)}, {row['label']}"


def _share(row: Row) -> str:
    return f" ({percent(row['share'])})" if row.get("share") is not None else ""
