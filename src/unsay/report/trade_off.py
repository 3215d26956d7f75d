"""Forget quality against utility as a picture and a table, from trade-off.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUALITY, _UTILITY = "forget-quality@forget", "model-utility"
_COLUMNS = {
    _QUALITY: "forget quality (p)",
    "probability@forget": "probability, forget",
    "extraction-strength@forget": "extraction strength, forget",
    _UTILITY: "utility (without ROUGE)",
    "probability@retain": "probability, retain",
}
_FLOOR = 1e-12
"""Smallest p-value that is drawn."""
Scores = Mapping[str, Mapping[str, Any]]


def write_trade_off(folder: Path) -> None:
    """Write trade-off.svg and trade-off.md beside trade-off.json."""
    found = json.loads((folder / "trade-off.json").read_text(encoding="utf-8"))
    atomic.write_text(folder / "trade-off.md", page(found))
    _draw(found, folder / "trade-off.svg")


def page(found: Mapping[str, Any]) -> str:
    """Markdown: a table of each method's base epoch, one more epoch and every α; then what became of it, in words."""
    heads = ["", "", *_COLUMNS.values()]
    lines = [heads, ["---", "---", *["---:"] * len(_COLUMNS)]]
    lines += [[tag, "", *(_cell([found[tag]], name) for name in _COLUMNS)] for tag in ("before", "retrained")]
    words = []
    for method, walks in by_method(found).items():
        for label, points in stations(walks).items():
            lines.append([method, label, *(_cell(points, name) for name in _COLUMNS)])
        words.append(said(method, walks))
    seeds = len({walk["seed"] for walk in found["walks"]})
    first = found["before"]
    about = (
        f"Means over {seeds} seed{'s' * (seeds != 1)}; in brackets the hull of the seeds' 95 % intervals, for forget "
        f"quality (a p-value, which has none) the smallest and largest seed. n = {first['probability@forget']['n']} "
        f"forget rows of {first['probability@forget']['clusters']} entities, {first[_UTILITY]['n']} utility rows. Base "
        f"epoch: best forget quality with at least {found['keep']:.0%} of the utility before. Forgetting is best where "
        "it is like the retrained model's; a lower probability is over-forgetting.\n"
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", about, *(f"- {sentence}" for sentence in words)]) + "\n"


def by_method(found: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The walks of each method, one a seed."""
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for walk in found["walks"]:
        methods.setdefault(walk["method"], []).append(walk)
    return methods


def stations(walks: Sequence[Mapping[str, Any]]) -> dict[str, list[Scores]]:
    """Scores of every seed at the base epoch, one epoch later, and at every α."""
    points: dict[str, list[Scores]] = {}
    for walk in walks:
        epochs, at = [point["scores"] for point in walk["epochs"]], walk["epoch"]
        points.setdefault("base epoch", []).append(epochs[at - 1])
        points.setdefault("one more epoch", []).append(epochs[at])
        for point in walk["uipe"]:
            label = "UIPE, α auto" if point["automatic"] else f"UIPE, α = {point['alpha']:g}"
            points.setdefault(label, []).append(point["scores"])
    return points


def said(method: str, walks: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: which epochs, which α, and how both ways of going on compare."""
    every = stations(walks)
    base, more = every["base epoch"], every["one more epoch"]
    epochs = ", ".join(str(walk["epoch"]) for walk in walks)
    text = f"`{method}`: base epoch {epochs}. From there, {_change(base, more)} with one more epoch"
    for label, points in every.items():
        if label.startswith("UIPE"):
            text += f"; {_change(base, points)} with {label}"
    alphas = [f"{point['alpha']:.2f}" for walk in walks for point in walk["uipe"] if point["automatic"]]
    return text + (f" (found: {', '.join(alphas)})" if alphas else "") + "."


def _change(base: Sequence[Scores], points: Sequence[Scores]) -> str:
    quality = [_value(points, _QUALITY), _value(base, _QUALITY)]
    utility = [_value(points, _UTILITY), _value(base, _UTILITY)]
    if not all(map(math.isfinite, quality + utility)) or not utility[1]:
        return "no number"
    return f"forget quality {quality[1]:.3g} → {quality[0]:.3g} and utility × {utility[0] / utility[1]:.3f}"


def _value(points: Sequence[Scores], name: str) -> float:
    values = [point[name]["value"] for point in points]
    return math.nan if any(v is None for v in values) else fmean(values)


def _cell(points: Sequence[Scores], name: str) -> str:
    value = _value(points, name)
    if math.isnan(value):
        return "–"
    if name == _QUALITY:
        values = [point[name]["value"] for point in points]
        text = f"{value:.3g}"
        return text if len(values) == 1 else f"{text} [{min(values):.2g}, {max(values):.2g}]"
    ends = [point[name]["ci"] for point in points if point[name]["ci"]]
    return f"{value:.3f}" + (f" [{min(e[0] for e in ends):.2f}, {max(e[1] for e in ends):.2f}]" if ends else "")


def _draw(found: Mapping[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    methods = by_method(found)
    columns = min(2, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (method, walks) in zip(grid, methods.items(), strict=False):
        _panel(axes, method, walks, found)
    for axes in grid[len(methods) :]:
        axes.set_axis_off()
    grid[0].legend(frameon=False, fontsize=7)
    figure.savefig(file, metadata={"Date": None})


def _panel(axes: Axes, method: str, walks: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    """Epochs as a thin line, the base epoch filled, the extrapolated models as triangles joined to it."""
    level = found["retrained"][_UTILITY]["value"]
    axes.axvline(level, color="0.6", linestyle="--", linewidth=1, label="retrained: utility")
    axes.axvline(found["keep"] * found["before"][_UTILITY]["value"], color="0.8", linewidth=1, label="utility bound")
    for i, walk in enumerate(walks):
        epochs, at = [point["scores"] for point in walk["epochs"]], walk["epoch"]
        line = [_at(found["before"]), *map(_at, epochs)]
        axes.plot(*zip(*line, strict=True), "-o", color="#1b5e8c", linewidth=0.8, markersize=2.5, alpha=0.6)
        x, y = _at(epochs[at - 1])
        _mark(axes, epochs[at - 1], "o", "#1b5e8c", "base epoch" if not i else "")
        _mark(axes, epochs[at], "s", "#555555", "one more epoch" if not i else "")
        for j, point in enumerate(walk["uipe"]):
            axes.plot(*zip((x, y), _at(point["scores"]), strict=True), ":", color="#b3261e", linewidth=0.8)
            mark = "*" if point["automatic"] else "^"
            name = "UIPE, α auto" if point["automatic"] else "UIPE"
            _mark(axes, point["scores"], mark, "#b3261e", name if not i and j in (0, len(walk["uipe"]) - 1) else "")
    axes.set_yscale("log")
    axes.set_ylim(_FLOOR / 3, 3)
    axes.set_title(method, fontsize=10)
    axes.set_xlabel("model utility (without ROUGE)")
    axes.set_ylabel("forget quality (p)")


def _at(scores: Scores) -> tuple[float, float]:
    utility, quality = scores[_UTILITY]["value"], scores[_QUALITY]["value"]
    return (math.nan if utility is None else utility, math.nan if quality is None else max(quality, _FLOOR))


def _mark(axes: Axes, scores: Scores, mark: str, colour: str, label: str) -> None:
    x, y = _at(scores)
    ci = scores[_UTILITY]["ci"]
    spread = [[max(0.0, x - ci[0])], [max(0.0, ci[1] - x)]] if ci else None
    axes.errorbar(
        [x], [y], xerr=spread, fmt=mark, color=colour, markersize=5, elinewidth=0.6, alpha=0.8, label=label or None
    )
