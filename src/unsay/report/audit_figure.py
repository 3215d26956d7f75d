"""The picture of an audit: the largest excess of each attack, in shares of what there was to forget."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from .text import visible

_COLOURS = {"leak": "#b3261e", "over": "#8b4a00", "none": "#1b6a4d", "undecided": "#555c67", "inconclusive": "#b9bec7"}
_NAMES = {"leak": "leak", "over": "over-forgotten", "none": "no excess", "undecided": "undecided"}
_NAMES["inconclusive"] = "inconclusive"
_MOST = 24
"""Rows that are drawn."""
_ENDS = (-1.0, 1.6)
"""What is further off is drawn at the edge."""


def draw(rows: Sequence[Mapping[str, Any]], margin: float = 0.1) -> str:
    """SVG text.

    Args:
        rows: Rows with a share, worst first; of each attack and metric the first is drawn.
        margin: Drawn as a band around 0.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault((row["attack"], row["metric"]), row)
    shown = list(first.values())[:_MOST]
    figure = Figure(figsize=(7.2, 0.9 + 0.3 * max(1, len(shown))), layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(-margin, margin, color="#e9e7e1", zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.axvline(1, color="0.7", linewidth=0.8, linestyle=":")
    used: set[str] = set()
    for at, row in enumerate(shown):
        share, ci, status = row["share"], row.get("share_ci"), row["status"]
        low, high = (_in(ci[0]), _in(ci[1])) if ci else (_in(share),) * 2
        name = _NAMES[status] if status not in used else None
        used.add(status)
        axes.plot([low, high], [at, at], color=_COLOURS[status], linewidth=1.6, solid_capstyle="butt")
        axes.plot([_in(share)], [at], "o", color=_COLOURS[status], markersize=6, label=name)
    place = {"none": "as it is"}
    names = [f"{place.get(r['attack'], r['attack'])} · {str(r['metric']).partition('@')[0]}" for r in shown]
    axes.set_yticks(range(len(shown)), [visible(name) for name in names], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(*_ENDS)
    axes.set_xlabel("excess, as a share of before − control (shaded: margin; 1: all of it)")
    axes.spines[["top", "right"]].set_visible(False)
    if used:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "audit", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _in(value: float) -> float:
    return min(max(value, _ENDS[0]), _ENDS[1])
