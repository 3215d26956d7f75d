"""The figures of the related-knowledge experiment, from its numbers alone; after figures 2, 3, 7 and 8 of UIPE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Any]
Reading = tuple[float, tuple[float, float]]
"""A value and its interval."""
NAMES = {"theta1": "θ1: knows K2", "theta2": "θ2: never knew K2", "theta3": "θ3: forgets K2, too"}
_STYLES = {"theta1": ("#0b5a9d", "o"), "theta2": ("#b8690b", "s"), "theta3": ("#2b7a4b", "^")}
_K1, _K2, _K3, _RED, _GREY = "#0b5a9d", "#b8690b", "#2b7a4b", "#b3261e", "#6b7380"
_FLOOR = 1e-12
"""Smallest p-value that is drawn."""


def draw(found: Found, folder: Path) -> None:
    """Write every figure into ``folder/figures``, as SVG and PNG."""
    figures = {
        "epochs": _epochs(found["variants"]),
        "k1-and-k2": _k1_and_k2(found["variants"]["theta1"]),
        "relatedness": _relatedness(found["relatedness"]["means"]),
        "alpha": _alpha(found),
        "before-and-after": _before_and_after(found),
    }
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        _save(figure, folder / "figures" / name, name)


def plateau(before: float, values: Sequence[float], share: float = 0.05) -> int | None:
    """The epoch, from 1, after which `values` rise no more.

    From it on all of them stay within `share` of the whole rise below the highest; None when they do not rise, or only
    the last one is as high as that.
    """
    if not values or (rise := max(values) - before) <= 0:
        return None
    level = max(values) - share * rise
    return next((t for t in range(1, len(values)) if min(values[t - 1 :]) >= level), None)


def k2_plateau(walk: Found) -> int | None:
    """The epoch after which K2 fades no more, by 1 − probability; see `plateau`."""
    first, *later = (gone(point, "probability@k2")[0] for point in (walk["before"], *walk["epochs"]))
    return plateau(first, later)


def gone(point: Found, name: str) -> Reading:
    """1 − a score of a point, with its interval; the value itself stands for an interval that there is not."""
    score = point[name]
    value = float("nan") if score["value"] is None else 1 - score["value"]
    return value, (1 - score["ci"][1], 1 - score["ci"][0]) if score["ci"] else (value, value)


def _epochs(variants: Found) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, (left, middle, right) = _panels(3)
    for name, walk in variants.items():
        colour, mark = _STYLES[name]
        points = [walk["before"], *walk["epochs"]]
        at, chosen = range(len(points)), walk["choice"]["epoch"]
        quality = [_quality(point) for point in points]
        left.plot(at, quality, color=colour, marker=mark, markersize=3.5, linewidth=1.2, label=NAMES[name])
        left.plot([chosen], [quality[chosen]], mark, color=colour, markersize=9, markerfacecolor="none")
        _band(middle, at, [gone(point, "probability@k1") for point in points], colour, mark, NAMES[name])
        _band(right, at, [_share(point, walk["before"]) for point in points], colour, mark, NAMES[name])
    _log(left, "forget quality of K1 (p-value)")
    middle.set(ylabel="1 − probability of K1", ylim=(0, 1.02))
    right.set(ylabel="utility, share of before")
    right.set_ylim(bottom=0)
    for axes in (left, middle, right):
        axes.set_xlabel("epoch of unlearning (ring: base epoch)" if axes is left else "epoch of unlearning")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(middle)
    return figure


def _k1_and_k2(walk: Found) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, (left, right) = _panels(2)
    points = [walk["before"], *walk["epochs"]]
    at = range(len(points))
    for split, colour, mark, label in (
        ("k1", _K1, "o", "K1, unlearned"),
        ("k2", _K2, "s", "K2, implies K1"),
        ("k3", _K3, "^", "K3, unrelated"),
    ):
        values = [gone(point, f"probability@{split}") for point in points]
        _band(left, at, values, colour, mark, label)
        if split == "k2" and (stop := k2_plateau(walk)):
            left.axvline(stop, color=colour, linestyle=":", linewidth=1, label=f"K2: plateau from epoch {stop}")
    for split, colour, mark in (("k1", _K1, "o"), ("k2", _K2, "s")):
        _band(right, at, [gone(point, f"extraction-strength@{split}") for point in points], colour, mark, split.upper())
    left.set(ylabel="1 − probability", ylim=(0, 1.02), xlabel="epoch of unlearning K1 (θ1)")
    right.set(ylabel="1 − extraction strength", ylim=(0, 1.02), xlabel="epoch of unlearning K1 (θ1)")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(left)
    return figure


def _relatedness(means: Found) -> Figure:
    figure, (axes,) = _panels(1)
    for shift, (tag, colour, mark) in zip((-0.1, 0.1), (("before", _GREY, "o"), ("after", _RED, "s")), strict=True):
        for x, kind in enumerate(("k2", "k3")):
            score = means[tag][kind]
            low, high = score["ci"] or (score["value"],) * 2
            spread = [[max(0.0, score["value"] - low)], [max(0.0, high - score["value"])]]
            label = f"{tag} unlearning" if x == 0 else None
            axes.errorbar([x + shift], [score["value"]], yerr=spread, fmt=mark, color=colour, label=label, capsize=2)
    axes.set_xticks([0, 1], ["K1 and its K2", "K1 and a K3"])
    axes.set_xlim(-0.6, 1.6)
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.set_ylabel("cosine of the gradients")
    _legend(axes)
    return figure


def _alpha(found: Found) -> Figure:
    figure, panels = _panels(3)
    walk = found["variants"]["theta1"]
    chosen = walk["choice"]["epoch"]
    base, more, before = walk["epochs"][chosen - 1], walk["epochs"][chosen], walk["before"]
    points = found["uipe"]["points"]
    line = [(0.0, base), *((p["alpha"], p) for p in points if p["kind"] in ("uipe", "back"))]
    beside = [(0.0, base), *((p["alpha"], p) for p in points if p["kind"] == "random")]
    auto = [(p["alpha"], p) for p in points if p["kind"] == "auto"]
    readings = (
        lambda p: (_quality(p), (_quality(p), _quality(p))),
        lambda p: gone(p, "probability@k1"),
        lambda p: _share(p, before),
    )
    for axes, reading in zip(panels, readings, strict=True):
        for some, colour, mark, label in ((line, _RED, "o", "UIPE"), (beside, _GREY, "x", "random direction")):
            some = sorted(some, key=lambda pair: float(pair[0]))
            _band(axes, [alpha for alpha, _ in some], [reading(p) for _, p in some], colour, mark, label)
        for alpha, point in auto:
            axes.plot([alpha], [reading(point)[0]], "*", color=_RED, markersize=11, label="α found automatically")
        axes.axhline(reading(more)[0], color="#1d1d1d", linestyle="--", linewidth=1, label="one more epoch instead")
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.set_xlabel("α      (0: base epoch, below 0: back)")
    _log(panels[0], "forget quality of K1 (p-value)")
    panels[1].set(ylabel="1 − probability of K1", ylim=(0, 1.02))
    panels[2].axhline(found["uipe"]["chosen"]["keep"], color="0.6", linestyle=":", linewidth=1, label="bound")
    panels[2].set(ylabel="utility, share of before")
    panels[2].set_ylim(bottom=0)
    _legend(panels[2])
    return figure


def _before_and_after(found: Found) -> Figure:
    figure, panels = _panels(2)
    walk, uipe = found["variants"]["theta1"], found["uipe"]
    chosen = walk["choice"]["epoch"]
    shown = [("base epoch", walk["epochs"][chosen - 1], _GREY)]
    alpha = uipe["chosen"]["alpha"] or max(p["alpha"] for p in uipe["points"] if p["kind"] == "uipe")
    after = next(p for p in uipe["points"] if p["kind"] == "uipe" and p["alpha"] == alpha)
    shown += [(f"UIPE, α = {alpha:g}", after, _RED), ("one more epoch", walk["epochs"][chosen], "#1d1d1d")]
    shown += [("retrained", walk["retrained"], _K3)]
    parts = (("probability", "1 − probability"), ("extraction-strength", "1 − extraction strength"))
    for axes, (metric, label) in zip(panels, parts, strict=True):
        for number, (name, point, colour) in enumerate(shown):
            read = [gone(point, f"{metric}@{split}") for split in ("k1", "k2")]
            heights, ends = [value for value, _ in read], [end for _, end in read]
            spread = [
                [max(0.0, v - low) for v, (low, _) in zip(heights, ends, strict=True)],
                [max(0.0, high - v) for v, (_, high) in zip(heights, ends, strict=True)],
            ]
            at = [x + 0.2 * (number - 1.5) for x in (0, 1)]
            axes.errorbar(at, heights, yerr=spread, fmt="osD^"[number], color=colour, markersize=6, label=name)
        axes.set_xticks([0, 1], ["K1, unlearned", "K2, implies K1"])
        axes.set(ylabel=label, ylim=(0, 1.02), xlim=(-0.5, 1.5))
    _legend(panels[0])
    return figure


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.7 * count if count > 1 else 4.4, 3.4), layout="constrained")
    panels = [figure.add_subplot(1, count, i + 1) for i in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    return figure, panels


def _band(axes: Axes, at: Sequence[float], values: Sequence[Reading], colour: str, mark: str, label: str) -> None:
    axes.plot(at, [v for v, _ in values], color=colour, marker=mark, markersize=3.5, linewidth=1.2, label=label)
    ends = [end for _, end in values]
    axes.fill_between(at, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.13, linewidth=0)


def _quality(point: Found) -> float:
    value = point["forget-quality@k1"]["value"]
    return float("nan") if value is None else max(float(value), _FLOOR)


def _share(point: Found, before: Found) -> Reading:
    """Utility over that of before, which is taken as given."""
    score, whole = point["utility"], before["utility"]["value"]
    if score["value"] is None or not whole:
        return float("nan"), (float("nan"), float("nan"))
    low, high = score["ci"] or (score["value"],) * 2
    return score["value"] / whole, (low / whole, high / whole)


def _log(axes: Axes, label: str) -> None:
    """A p-value's axis: at least from 0.01, so that small differences do not look large."""
    axes.set_yscale("log")
    axes.set_ylim(min(0.01, axes.get_ylim()[0]), 2)
    axes.axhline(0.05, color="0.75", linewidth=0.8, linestyle=":")
    axes.set_ylabel(label)


def _legend(axes: Axes) -> None:
    """Above all panels: what is in one is named by another, too."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)


def _save(figure: Figure, file: Path, name: str) -> None:
    import io

    from matplotlib import rc_context

    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": name}):
            figure.savefig(buffer, format=kind, dpi=130, facecolor="white", metadata=metadata)
        atomic.write_bytes(file.with_suffix(f".{kind}"), buffer.getvalue())
