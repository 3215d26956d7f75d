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

_QUALITY, _UTILITY, _PROBABILITY = "forget-quality@forget", "model-utility", "probability@forget"
_COLUMNS = {
    _QUALITY: "forget quality (p)",
    _PROBABILITY: "probability, forget",
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
        f"quality (a p-value, which has none) the smallest and largest seed. n = {first[_PROBABILITY]['n']} "
        f"forget rows of {first[_PROBABILITY]['clusters']} entities, {first[_UTILITY]['n']} utility rows. Base "
        f"epoch: best forget quality with at least {found['keep']:.0%} of the utility before. Forgetting is best where "
        "it is like the retrained model's; a lower probability is over-forgetting.\n"
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", about, *(f"- {sentence}" for sentence in words), "", *counted(found)]) + "\n"


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


def counted(found: Mapping[str, Any]) -> list[str]:
    """One sentence for every α: in how many walks it is above and below one more epoch of the method itself."""
    stops = [stations([walk]) for walk in found["walks"]]
    level = found["retrained"][_PROBABILITY]["value"]
    sentences = []
    for label in dict.fromkeys(label for stop in stops for label in stop if label.startswith("UIPE")):
        pairs = [(stop[label], stop["one more epoch"]) for stop in stops if label in stop]
        parts = [_signs(pairs, name, title) for name, title in ((_QUALITY, "forget quality"), (_UTILITY, "utility"))]
        below = sum(_value(ours, _PROBABILITY) < level for ours, _ in pairs)
        more = sum(_value(other, _PROBABILITY) < level for _, other in pairs)
        sentences.append(
            f"{label}, against one more epoch, {len(pairs)} walks: {'; '.join(parts)}. The forget rows are less likely "
            f"than under the retrained model in {below} of them, after one more epoch in {more}.\n"
        )
    return sentences


def _signs(pairs: Sequence[tuple[Sequence[Scores], Sequence[Scores]]], name: str, title: str) -> str:
    """How often a metric is higher and lower, with the p-value of the sign test, which leaves ties out."""
    from scipy.stats import binomtest

    gaps = [_value(ours, name) - _value(other, name) for ours, other in pairs]
    up, down = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    p = binomtest(up, up + down).pvalue if up + down else 1.0
    return f"{title} is higher in {up} and lower in {down} (sign test p = {p:.2g})"


def _change(base: Sequence[Scores], points: Sequence[Scores]) -> str:
    quality = [_value(points, _QUALITY), _value(base, _QUALITY)]
    utility = [_value(points, _UTILITY), _value(base, _UTILITY)]
    if not all(map(math.isfinite, quality + utility)) or not utility[1]:
        return "no number"
    likely = [_value(points, _PROBABILITY), _value(base, _PROBABILITY)]
    return (
        f"forget quality {quality[1]:.3g} → {quality[0]:.3g}, probability {likely[1]:.3f} → {likely[0]:.3f}, utility × "
        f"{utility[0] / utility[1]:.3f}"
    )


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
    """A column for each method: forget quality above, probability below, both against utility."""
    from matplotlib.figure import Figure

    methods = by_method(found)
    figure = Figure(figsize=(max(4.0, 3.0 * len(methods)), 6.0), layout="constrained")
    grid = figure.subplots(2, len(methods), squeeze=False, sharex=True, sharey="row")
    for (upper, lower), (method, walks) in zip(grid.T, methods.items(), strict=True):
        _panel(upper, walks, found, _QUALITY)
        _panel(lower, walks, found, _PROBABILITY)
        upper.set_title(method, fontsize=10)
        lower.set_xlabel("model utility (without ROUGE)")
    drawn = [_at(scores, _QUALITY)[1] for walks in methods.values() for p in stations(walks).values() for scores in p]
    grid[0, 0].set_yscale("log")
    grid[0, 0].set_ylim(min([0.01, *filter(math.isfinite, drawn)]) / 3, 3)
    grid[0, 0].set_ylabel("forget quality (p)")
    grid[1, 0].set_ylabel("probability, forget")
    grid[1, 0].set_ylim(0, None)
    grid[1, 0].legend(frameon=False, fontsize=7)
    figure.savefig(file, metadata={"Date": None})


def _panel(axes: Axes, walks: Sequence[Mapping[str, Any]], found: Mapping[str, Any], name: str) -> None:
    """Epochs as a thin line, the base epoch filled, the extrapolated models as triangles joined to it."""
    utility, level = (found["retrained"][metric]["value"] for metric in (_UTILITY, name))
    axes.axvline(utility, color="0.6", linestyle="--", linewidth=1, label="retrained")
    axes.axhline(level, color="0.6", linestyle="--", linewidth=1)
    axes.axvline(found["keep"] * found["before"][_UTILITY]["value"], color="0.8", linewidth=1, label="utility bound")
    for i, walk in enumerate(walks):
        epochs, at = [point["scores"] for point in walk["epochs"]], walk["epoch"]
        line = [_at(scores, name) for scores in (found["before"], *epochs)]
        axes.plot(*zip(*line, strict=True), "-o", color="#1b5e8c", linewidth=0.8, markersize=2.5, alpha=0.6)
        base = _at(epochs[at - 1], name)
        _mark(axes, epochs[at - 1], name, "o", "#1b5e8c", "base epoch" if not i else "")
        _mark(axes, epochs[at], name, "s", "#555555", "one more epoch" if not i else "")
        for j, point in enumerate(walk["uipe"]):
            end = _at(point["scores"], name)
            axes.plot(*zip(base, end, strict=True), ":", color="#b3261e", linewidth=0.8)
            mark = "*" if point["automatic"] else "^"
            label = "UIPE, α auto" if point["automatic"] else "UIPE"
            new = not i and j in (0, len(walk["uipe"]) - 1)
            _mark(axes, point["scores"], name, mark, "#b3261e", label if new else "")


def _at(scores: Scores, name: str) -> tuple[float, float]:
    """Utility, and the metric of that name."""
    utility, value = scores[_UTILITY]["value"], scores[name]["value"]
    if value is not None and name == _QUALITY:
        value = max(value, _FLOOR)
    return (math.nan if utility is None else utility, math.nan if value is None else value)


def _mark(axes: Axes, scores: Scores, name: str, mark: str, colour: str, label: str) -> None:
    x, y = _at(scores, name)
    across, along = (_spread(scores, metric, at) for metric, at in ((_UTILITY, x), (name, y)))
    axes.errorbar(
        *([x], [y]), xerr=across, yerr=along, fmt=mark, color=colour, markersize=5, elinewidth=0.6, alpha=0.8,
        label=label or None,
    )  # fmt: skip


def _spread(scores: Scores, name: str, at: float) -> list[list[float]] | None:
    ci = scores[name]["ci"]
    return [[max(0.0, at - ci[0])], [max(0.0, ci[1] - at)]] if ci else None
