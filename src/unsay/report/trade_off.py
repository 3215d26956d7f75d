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
        f"epoch: best forget quality with at least {found['keep']:.0%} of the utility before, of all epochs but the "
        "last. This choice puts one more epoch at a disadvantage: unless it is the last, it was passed over for a "
        "forget quality that is no better, or for too little utility. Forgetting is best where it is like the "
        "retrained model's; a lower probability is over-forgetting.\n"
    )
    if found.get("two_sided") is False:
        about += (
            "\nThere are no holdout rows: α auto is bounded by the rows to keep alone, and nothing stops it from "
            "over-forgetting.\n"
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
    """Scores of every seed at the base epoch, one epoch later, and at every α; without the walks that have no base."""
    points: dict[str, list[Scores]] = {}
    for walk in _finished(walks):
        epochs, at = [point["scores"] for point in walk["epochs"]], walk["epoch"]
        points.setdefault("base epoch", []).append(epochs[at - 1])
        points.setdefault("one more epoch", []).append(epochs[at])
        for point in walk["uipe"]:
            label = "UIPE, α auto" if point["automatic"] else f"UIPE, α = {point['alpha']:g}"
            if "scores" in point:
                points.setdefault(label, []).append(point["scores"])
    return points


def said(method: str, walks: Sequence[Mapping[str, Any]]) -> str:
    """Which epochs, which α, how both ways of going on compare, and what failed and why."""
    text, done = f"`{method}`:", _finished(walks)
    if done:
        text += f" base epoch {', '.join(str(walk['epoch']) for walk in done)}. From there"
        stops = [stations([walk]) for walk in done]
        for i, label in enumerate(label for label in stations(done) if label != "base epoch"):
            pairs = [(stop["base epoch"][0], stop[label][0]) for stop in stops if label in stop]
            text += f"{';' if i else ','} {_change(*map(list, zip(*pairs, strict=True)))} with {label}"
        alphas = [f"{p['alpha']:.2f}" for walk in done for p in walk["uipe"] if p["automatic"] and "scores" in p]
        text += (f" (found: {', '.join(alphas)})" if alphas else "") + "."
    return " ".join([text, *(f"Seed {walk['seed']} {why}." for walk in walks for why in _failures(walk))])


def _finished(walks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that came to a base epoch."""
    return [walk for walk in walks if "epoch" in walk]


def _failures(walk: Mapping[str, Any]) -> list[str]:
    if "epoch" not in walk:
        return [f"has no base epoch: {walk['note']}"]
    return [f"has no automatic α: {point['note']}" for point in walk["uipe"] if "scores" not in point]


def counted(found: Mapping[str, Any]) -> list[str]:
    """For every α: in how many walks it is above and below one more epoch of the method itself, and keeps the bound."""
    stops = [stations([walk]) for walk in _finished(found["walks"])]
    level, bound = found["retrained"][_PROBABILITY]["value"], found["keep"] * _value([found["before"]], _UTILITY)
    sentences = []
    for label in dict.fromkeys(label for stop in stops for label in stop if label.startswith("UIPE")):
        pairs = [(stop[label], stop["one more epoch"]) for stop in stops if label in stop]
        kept = [[_value(scores, _UTILITY) >= bound for scores in pair] for pair in pairs]
        fair = [pair for pair, both in zip(pairs, kept, strict=True) if all(both)]
        below, more = (sum(_value(pair[i], _PROBABILITY) < level for pair in pairs) for i in (0, 1))
        among = f" Among these {len(fair)}, {_signs(fair)}." if fair else ""
        sentences.append(
            f"{label}, against one more epoch, {len(pairs)} walk{'s' * (len(pairs) != 1)}: {_signs(pairs)}. "
            f"{found['keep']:.0%} of the utility before are kept by UIPE in {sum(ours for ours, _ in kept)}, by one "
            f"more epoch in {sum(other for _, other in kept)}, by both in {len(fair)}.{among} The forget rows are less "
            f"likely than under the retrained model in {below} of {len(pairs)}, after one more epoch in {more}.\n"
        )
    if sentences:
        sentences.append(
            "There is no p-value on these counts: all walks share the model before, the retrained one and the rows, "
            "so they are not independent.\n"
        )
    return sentences


def _signs(pairs: Sequence[tuple[Sequence[Scores], Sequence[Scores]]]) -> str:
    """How often forget quality and utility are higher and lower; the rest are ties."""
    parts = []
    for name, title in ((_QUALITY, "forget quality"), (_UTILITY, "utility")):
        gaps = [_value(ours, name) - _value(other, name) for ours, other in pairs]
        parts.append(f"{title} is higher in {sum(g > 0 for g in gaps)} and lower in {sum(g < 0 for g in gaps)}")
    return "; ".join(parts)


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
        return text if len(values) == 1 else f"{text} [{min(values):.3g}, {max(values):.3g}]"
    ends = [point[name]["ci"] for point in points if point[name]["ci"]]
    return f"{value:.3f}" + (f" [{min(e[0] for e in ends):.3f}, {max(e[1] for e in ends):.3f}]" if ends else "")


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
    named = {label: handle for axes in grid[1] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    grid[1, 0].legend(named.values(), named.keys(), frameon=False, fontsize=7)
    figure.savefig(file, metadata={"Date": None})


def _panel(axes: Axes, walks: Sequence[Mapping[str, Any]], found: Mapping[str, Any], name: str) -> None:
    """Epochs as a thin line, the base epoch filled, the extrapolated models as triangles joined to it."""
    utility, level = (found["retrained"][metric]["value"] for metric in (_UTILITY, name))
    axes.axvline(utility, color="0.6", linestyle="--", linewidth=1, label="retrained")
    axes.axhline(level, color="0.6", linestyle="--", linewidth=1)
    axes.axvline(found["keep"] * found["before"][_UTILITY]["value"], color="0.8", linewidth=1, label="utility bound")
    for walk in walks:
        epochs, at = [point["scores"] for point in walk["epochs"]], walk.get("epoch")
        line = [_at(scores, name) for scores in (found["before"], *epochs)]
        axes.plot(*zip(*line, strict=True), "-o", color="#1b5e8c", linewidth=0.8, markersize=2.5, alpha=0.6)
        if at is None:
            continue
        base = _at(epochs[at - 1], name)
        _mark(axes, epochs[at - 1], name, "o", "#1b5e8c", "base epoch")
        _mark(axes, epochs[at], name, "s", "#555555", "one more epoch")
        for point in (point for point in walk["uipe"] if "scores" in point):
            axes.plot(*zip(base, _at(point["scores"], name), strict=True), ":", color="#b3261e", linewidth=0.8)
            mark, label = ("*", "UIPE, α auto") if point["automatic"] else ("^", "UIPE")
            _mark(axes, point["scores"], name, mark, "#b3261e", label)


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
        label=label,
    )  # fmt: skip


def _spread(scores: Scores, name: str, at: float) -> list[list[float]] | None:
    ci = scores[name]["ci"]
    return [[max(0.0, at - ci[0])], [max(0.0, ci[1] - at)]] if ci else None
