"""The pictures of `unsay probe`: bars of next tokens, curves over layers, maps of heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#4d4d4d", "#b3261e", "#1b5e8c", "#2e7d32", "#8e5a00", "#6a3d9a", "#00838f")
_DASHES = ("-", "--", "-.", ":")
_ROWS = 4
"""Prompts that are drawn."""


def topk(found: Mapping[str, Any], file: Path) -> None:
    """Bars: a row of panels for each prompt, a panel for each model."""
    names, rows = list(found["models"]), found["rows"][:_ROWS]
    figure, panels = _panels(len(rows), len(names), 2.6, 0.5 + 0.24 * found["settings"]["k"])
    for row, line in zip(rows, panels, strict=True):
        for name, axes in zip(names, line, strict=True):
            one = row["models"][name][0]
            tokens = [_shown(token) for token, _ in one["top"]]
            axes.barh(range(len(tokens)), [p for _, p in one["top"]], color=_colour(names, name), height=0.7)
            axes.set_yticks(range(len(tokens)), tokens, fontsize=7)
            axes.invert_yaxis()
            axes.set_xlim(0, 1)
            axes.tick_params(axis="x", labelsize=7)
            stage = one.get("seesaw", {}).get("stage", "reference")
            axes.set_title(f"{_clipped(name, 24)}: {stage}", fontsize=8)
        line[0].set_ylabel(_clipped(row["question"], 26), fontsize=7)
    _save(figure, file)


def lens(found: Mapping[str, Any], file: Path) -> None:
    """Curves: the answer's token by layer, and the distance to the last layer."""
    from matplotlib.ticker import MaxNLocator

    names = list(found["models"])
    figure, ((left, right),) = _panels(1, 2, 4.0, 3.2)
    for axes, key, label in (
        (left, "logp", "log p of the answer's token (nats)"),
        (right, "fkl", "KL(last layer ‖ layer) (nats)"),
    ):
        for number, name in enumerate(names):
            points = [point for point in found["summary"][name][key] if point["value"] is not None]
            at = [layer for layer, point in enumerate(found["summary"][name][key]) if point["value"] is not None]
            colour = _colour(names, name)
            axes.plot(
                at,
                [point["value"] for point in points],
                color=colour,
                linestyle=_DASHES[number % len(_DASHES)],
                label=visible(name),
            )
            ends = [point["ci"] or (point["value"],) * 2 for point in points]
            axes.fill_between(at, [e[0] for e in ends], [e[1] for e in ends], color=colour, alpha=0.12, linewidth=0)
        axes.set_xlabel("layer (0 is the embedding)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    _save(figure, file)


def circuits(found: Mapping[str, Any], file: Path) -> None:
    """Maps: the mean slope of every head and MLP, one map a model, all on one scale."""
    names = list(found["models"])
    maps = [found["summary"][name]["gates"] for name in names]
    largest = max((abs(value) for gates in maps for line in gates for value in line), default=0.0) or 1.0
    deep = max(map(len, maps))
    figure, (line,) = _panels(1, len(names), 2.8, max(2.4, 1.2 + 0.13 * deep))
    for name, gates, axes in zip(names, maps, line, strict=True):
        image = axes.imshow(
            gates, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto", origin="lower", interpolation="nearest"
        )
        axes.set_title(_clipped(name, 24), fontsize=9)
        axes.set_xlabel("heads, then MLP")
        axes.set_xticks([0, len(gates[0]) - 1], ["1", "MLP"])
        axes.set_yticks([0, len(gates) - 1], ["1", str(len(gates))])
    line[0].set_ylabel("layer")
    figure.colorbar(image, ax=list(line), label="slope of log p (nats)")
    _save(figure, file)


DRAWN: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {"topk": topk, "lens": lens, "circuits": circuits}


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(line) for line in grid]


def _shown(token: str) -> str:
    return _clipped("␣" + token[1:] if token.startswith(" ") else token, 14)


def _clipped(text: str, limit: int) -> str:
    said = visible(text.replace("\n", "↵").replace("\t", "⇥"))
    return said if len(said) <= limit else f"{said[: limit - 1]}…"


def _colour(names: list[str], name: str) -> str:
    return _COLOURS[names.index(name) % len(_COLOURS)]


def _save(figure: Figure, file: Path) -> None:
    from matplotlib.text import Text

    for words in figure.findobj(Text):
        words.set_parse_math(False)  # type: ignore[attr-defined]  # a dollar sign in a token is a dollar sign
    figure.savefig(file, metadata={"Date": None})
