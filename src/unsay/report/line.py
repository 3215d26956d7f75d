"""A walked line as a picture and a table, from line.json alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runs import atomic

_COLUMNS = {
    "forget-probability": "probability, forget",
    "forget-strength": "extraction strength, forget",
    "keep-probability": "probability, keep",
    "keep-strength": "extraction strength, keep",
}
_DRAWN = {"forget-probability": "#b3261e", "keep-probability": "#1b5e8c"}


def write_line(folder: Path) -> None:
    """Write line.svg and line.md beside line.json."""
    found = json.loads((folder / "line.json").read_text(encoding="utf-8"))
    atomic.write_text(folder / "line.md", table(found))
    _draw(found, folder / "line.svg")


def table(found: Mapping[str, Any]) -> str:
    """Markdown: one row a place, the retrained model last."""
    rows = [[f"{point['s']:g}", *(_cell(point[name]) for name in _COLUMNS)] for point in found["points"]]
    if "retrained" in found:
        rows.append(["retrained", *(_cell(found["retrained"][name]) for name in _COLUMNS)])
    lines = [["s", *_COLUMNS.values()], ["---:"] * (1 + len(_COLUMNS)), *rows]
    calm = found["calibrated"]
    said = (
        f"θ(s) = θ0 + s·(θu − θ0): 0 is before, 1 after. Rows to keep: {found['kept_rows']}.\n"
        f"The largest s up to 1 that keeps {calm['keep']:.0%} of their extraction strength is {calm['s']:.2f} (UWC).\n"
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{said}"


def _cell(estimate: Mapping[str, Any]) -> str:
    text = f"{estimate['value']:.3f}"
    return text if estimate["ci"] is None else f"{text} [{estimate['ci'][0]:.3f}, {estimate['ci'][1]:.3f}]"


def _draw(found: Mapping[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    at = [point["s"] for point in found["points"]]
    for name, colour in _DRAWN.items():
        values = [point[name]["value"] for point in found["points"]]
        ends = [point[name]["ci"] or (point[name]["value"],) * 2 for point in found["points"]]
        axes.plot(at, values, marker="o", markersize=4, color=colour, label=_COLUMNS[name])
        axes.fill_between(at, [e[0] for e in ends], [e[1] for e in ends], color=colour, alpha=0.15, linewidth=0)
        if "retrained" in found:
            level = found["retrained"][name]["value"]
            axes.axhline(level, color=colour, linestyle="--", linewidth=1, label=f"{_COLUMNS[name]}: retrained")
    axes.axvline(1.0, color="0.6", linewidth=0.8)
    axes.set_xlabel("s      (0 before, 1 after, above 1 extrapolated)")
    axes.set_ylabel("mean probability of the answers")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})
