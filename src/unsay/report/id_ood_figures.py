"""The figures of the id-ood experiment, from its numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import stats
from .id_ood_numbers import ID, by_seed, reached, way
from .related_figures import _band, _legend, _panels, _save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = Mapping[str, Any]
_INSIDE = "#0b5a9d"
_COLOURS = ("#b3261e", "#b8690b", "#2b7a4b", "#6b3fa0")
_MARKS = "s^Dv"


def draw(found: Found, folder: Path) -> None:
    """Write every figure into ``folder/figures``, as SVG and PNG."""
    figures = {"steps": _steps(found), "trade-off": _trade_off(found), "seeds": _seeds(found)}
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        _save(figure, folder / "figures" / name, name)


def _sides(found: Found) -> list[tuple[str, str, str, str]]:
    """Set, label, colour, mark: for each kind the set in distribution and its partner."""
    sides = []
    for k, kind in enumerate(found["about"]["settings"]["kinds"]):
        colour = _COLOURS[k % len(_COLOURS)]
        sides += [(f"{ID} for {kind}", f"in, for {kind}", _INSIDE, "ov<>"[k % 4])]
        sides += [(kind, f"out: {kind}", colour, _MARKS[k % 4])]
    return sides


def _walks(found: Found, name: str) -> list[Sequence[Mapping[str, Any]]]:
    return [one["sets"][name]["points"] for one in found["seeds"] if name in one["sets"]]


def _steps(found: Found) -> Figure:
    figure, (left, right) = _panels(2)
    for name, label, colour, mark in _sides(found):
        for axes, read in (
            (left, lambda points: [p["exposure"] for p in points]),
            (right, lambda points: [p["test"] - points[0]["test"] for p in points]),
        ):
            at, values = _over_seeds(_walks(found, name), read)
            if at:
                _band(axes, at, values, colour, mark, label)
    level = next((p["chance"] for w in _walks(found, _sides(found)[0][0]) for p in w), None)
    if level is not None:
        left.axhline(level, color="0.5", linestyle=":", linewidth=1, label="rows never seen")
    left.set(ylabel="mean exposure, bits", xlabel="step of gradient ascent")
    right.set(ylabel="rise of the held-out loss, nats per token", xlabel="step of gradient ascent")
    right.set_yscale("symlog", linthresh=0.1)
    _legend(left)
    return figure


def _over_seeds(
    walks: Sequence[Sequence[Mapping[str, Any]]], read: Callable[[Sequence[Mapping[str, Any]]], Sequence[float]]
) -> tuple[list[int], list[tuple[float, tuple[float, float]]]]:
    """Steps that all seeds have, and means over seeds with their intervals."""
    tables = [dict(zip((p["step"] for p in walk), read(walk), strict=True)) for walk in walks]
    at = sorted(set.intersection(*map(set, tables))) if tables else []
    values = []
    for step in at:
        found = stats.mean({str(k): table[step] for k, table in enumerate(tables)}, {})
        values.append((found.value, found.ci or (found.value, found.value)))
    return at, values


def _trade_off(found: Found) -> Figure:
    figure, (left, right) = _panels(2)
    for name, label, colour, mark in _sides(found):
        lines = [line for walk in _walks(found, name) if (line := _first(way(walk)))]
        for k, line in enumerate(lines):
            about = label if k == 0 else None
            left.plot(*zip(*line, strict=True), color=colour, linewidth=1, alpha=0.7, label=about)
        sets = [one["sets"][name] for one in found["seeds"] if name in one["sets"]]
        pairs = [(of["cosine"], max(1e-3, reached(of["points"]).cost)) for of in sets]
        right.plot(*zip(*pairs, strict=True), mark, color=colour, markersize=5, alpha=0.8, label=label)
    left.axvline(1, color="0.5", linestyle=":", linewidth=1)
    left.set(xlabel="share of the way to rows never seen", ylabel="rise of the held-out loss, nats per token")
    left.set_yscale("symlog", linthresh=0.1)
    right.set(xlabel="cosine with the gradient of retain rows", ylabel="rise of the held-out loss")
    right.set_yscale("log")
    _legend(right)
    return figure


def _first(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A way up to the first point that has it behind: what follows is over-forgetting."""
    end = next((k for k, (share, _) in enumerate(line) if share >= 1), len(line) - 1)
    return list(line[: end + 1])


def _seeds(found: Found) -> Figure:
    figure, panels = _panels(2)
    names = found["about"]["settings"]["kinds"]
    for axes, number, label in (
        (panels[0], "steps", "steps until exposure is at chance"),
        (panels[1], "cost", "rise of the held-out loss by then"),
    ):
        for k, kind in enumerate(names):
            inside, outside = by_seed(found, f"{ID} for {kind}", number), by_seed(found, kind, number)
            for j, seed in enumerate(sorted(inside.keys() & outside.keys())):
                values, at = [inside[seed], outside[seed]], [2.6 * k, 2.6 * k + 1]
                colour = _COLOURS[k % len(_COLOURS)]
                axes.plot(at, values, "-o", color=colour, markersize=4, alpha=0.75, label=kind if j == 0 else None)
        axes.set_xticks([2.6 * k + j for k in range(len(names)) for j in (0, 1)], ["in", "out"] * len(names))
        axes.set(ylabel=label)
    panels[0].set_ylim(bottom=0)
    _legend(panels[0])
    return figure
