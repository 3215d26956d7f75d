"""Pictures as SVG text for the page: no inline styles, which it forbids, and colours from its stylesheet."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .findings import label
from .folder import AttackCurve, MetricInfo, RunFolder, finite
from .text import number, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn in these colours, then replaced by the stylesheet's variables, so that dark mode changes pictures as well.
_COLOURS = {
    "before": "#010101",
    "after": "#020202",
    "retrained": "#030303",
    "ink": "#040404",
    "faint": "#050505",
    "line": "#060606",
    "other": "#070707",
}
_MARKERS = {"before": "o", "after": "s", "retrained": "D"}
_WHOLE = (("loss", "ink", "-"),)
_DASHED = (0, (5, 2))
_STAGES = 3
_WIDTH = 5.5
"""Inches; the page scales it."""
_POINTS = 1000
"""Points of a curve that are drawn; more only make the file larger."""


def tradeoff(run: RunFolder) -> str:
    """Forgetting against usefulness, one point a model with its intervals; "" when either has no number.

    The x axis is the first headline forgetting metric (what is still known of the forget set), the y axis the first
    headline usefulness metric. An arrow leads from before to after; the retrained model is where it should end.
    """
    x, y = _first(run, "forget", ("down", "match")), _first(run, "utility", ("up",))
    if x is None or y is None:
        return ""
    at: dict[str, tuple[float, float]] = {}
    for tag in run.tags:
        one, other = run.score(tag, x.id).value, run.score(tag, y.id).value
        if one is not None and other is not None:
            at[tag] = (one, other)
    if "after" not in at:
        return ""
    figure, axes = _figure(3.5)
    for tag, (left, up) in at.items():
        spread = [_spread(run, tag, m.id) for m in (x, y)]
        colour = _colour(tag)
        axes.errorbar([left], [up], xerr=spread[0], yerr=spread[1], color=colour, elinewidth=1.1, capsize=0, zorder=2)
        hollow = tag == "before"
        axes.plot(
            [left],
            [up],
            _MARKERS.get(tag, "^"),
            color=colour,
            markersize=9,
            zorder=4,
            markeredgewidth=1.8,
            markerfacecolor="none" if hollow else colour,
        )
        axes.annotate(
            visible(tag),
            (left, up),
            xytext=(9, -17 if tag == "after" else 8),
            textcoords="offset points",
            color=colour,
            fontsize=10.5,
            weight="bold",
        )
    if "before" in at:
        arrow = {"arrowstyle": "-|>", "color": _COLOURS["faint"], "shrinkA": 9, "shrinkB": 9, "linewidth": 1.2}
        axes.annotate("", at["after"], at["before"], arrowprops=arrow, zorder=3)
    axes.set_xlabel(f"{visible(label(x))}  ·  left = forgotten")
    axes.set_ylabel(f"{visible(label(y))}  ·  up = useful")
    _limits(axes, run, x, y, at)
    names = ", ".join(f"{t}: {number(a)} and {number(b)}" for t, (a, b) in at.items())
    return _svg(figure, "tradeoff", f"{label(x)} against {label(y)}. {names}")


def training(run: RunFolder) -> list[tuple[str, str]]:
    """Loss by optimiser step as (stage, SVG), unlearning first; forget and retain apart where they were logged."""
    stages: dict[str, dict[float, Mapping[str, Any]]] = {}
    for event in run.events:
        step = finite(event.get("step"))
        if step is not None and any(finite(event.get(k)) is not None for k in ("loss", "forget", "retain")):
            # A resumed run repeats the steps after its checkpoint: the later line is the one that counted.
            stages.setdefault(str(event.get("stage", "")), {})[step] = event
    shown = sorted(stages.items(), key=lambda s: s[0] != "unlearn")[:_STAGES]
    return [(stage, _training(stage, [by_step[s] for s in sorted(by_step)])) for stage, by_step in shown]


def _training(stage: str, events: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _figure(3.1)
    split = any(finite(e.get("forget")) is not None for e in events)
    for key, colour, dash in (("forget", "after", "-"), ("retain", "retrained", _DASHED)) if split else _WHOLE:
        line = [(finite(e.get("step")) or 0.0, v) for e in events if (v := finite(e.get(key))) is not None]
        line = line[:: max(1, len(line) // _POINTS)]
        if line:
            mark = "o" if len(line) == 1 else ""
            axes.plot(
                *zip(*line, strict=True), color=_COLOURS[colour], linestyle=dash, marker=mark, linewidth=1.6, label=key
            )
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss")
    if split:
        _legend(axes)
    return _svg(figure, f"training-{stage}", f"Loss by optimiser step, stage {stage}")


def attack(run: RunFolder, curve: AttackCurve, metric: str) -> str:
    """What an attack brings back by its strength, on the unlearned model and on its control; "" without numbers."""
    points = [p for p in curve.points if p.metric == metric and p.value is not None]
    if not points:
        return ""
    figure, axes = _figure(3.1)
    info = run.metric(metric)
    for target in dict.fromkeys(p.target for p in points):
        start = run.score(target, metric)
        line = [(p.at, p.value or 0.0, p.ci) for p in points if p.target == target]
        if start.value is not None and not any(at == 0 for at, _, _ in line):
            line.append((0.0, start.value, start.ci))
        line.sort(key=lambda point: point[0])
        xs, ys = [p[0] for p in line], [p[1] for p in line]
        colour = _colour(target)
        dash = "-" if target == "after" else _DASHED
        axes.plot(
            xs,
            ys,
            color=colour,
            linestyle=dash,
            linewidth=1.6,
            marker=_MARKERS.get(target, "^"),
            markersize=6,
            label=f"{visible(target)}, attacked",
        )
        for at, value, ci in line:
            if ci:
                axes.errorbar(
                    [at],
                    [value],
                    yerr=[[max(0.0, value - ci[0])], [max(0.0, ci[1] - value)]],
                    color=colour,
                    elinewidth=1.1,
                )
    before = run.score("before", metric).value
    if before is not None:
        axes.axhline(before, color=_COLOURS["before"], linewidth=1.1, linestyle=(0, (1, 2)), label="before")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xlabel(visible(curve.axis))
    axes.set_ylabel(visible(label(info)))
    _legend(axes)
    return _svg(
        figure,
        f"attack-{curve.attack}-{metric}",
        f"{curve.attack}: {label(info)} by {curve.axis}, after against control",
    )


def _first(run: RunFolder, kind: str, wanted: tuple[str, ...]) -> MetricInfo | None:
    fitting = [
        m for m in run.metrics if m.kind == kind and m.wanted in wanted and run.score("after", m.id).value is not None
    ]
    return min(fitting, key=lambda m: run.headline.index(m.id) if m.id in run.headline else 10**6, default=None)


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_COLOURS["line"])
        axes.grid(True, color=_COLOURS["line"], linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(color=_COLOURS["line"], labelcolor=_COLOURS["faint"], length=3)
        axes.xaxis.label.set_color(_COLOURS["ink"])
        axes.yaxis.label.set_color(_COLOURS["ink"])
        axes.locator_params(nbins=6)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=9, labelcolor=_COLOURS["ink"], handlelength=2.6)


def _colour(tag: str) -> str:
    return _COLOURS.get(tag, _COLOURS["other"]) if tag in _MARKERS else _COLOURS["other"]


def _spread(run: RunFolder, tag: str, metric: str) -> list[list[float]] | None:
    found = run.score(tag, metric)
    if found.value is None or found.ci is None:
        return None
    return [[max(0.0, found.value - found.ci[0])], [max(0.0, found.ci[1] - found.value)]]


def _limits(axes: Axes, run: RunFolder, x: MetricInfo, y: MetricInfo, at: Mapping[str, tuple[float, float]]) -> None:
    """From zero to just beyond the largest number: distances on a cut axis look larger than they are."""
    for axis, metric in (("x", x), ("y", y)):
        ends = [e for t in at for e in (run.score(t, metric.id).ci or ())] + [p[axis == "y"] for p in at.values()]
        low, high = min(0.0, *ends), max(*ends, 0.05)
        room = 0.12 * (high - low)
        axes.set(**{f"{axis}lim": (low - (room if low < 0 else 0.02 * (high - low)), high + room)})


_STYLE = re.compile(r' style="([^"]*)"')
_FONT = re.compile(r"(?:(?P<bold>bold|700) )?(?P<size>[\d.]+)px .*")
_DROPPED = ("stroke-linecap", "stroke-linejoin", "font-family", "font-style", "font-variant", "font-stretch")


def _svg(figure: Figure, name: str, description: str) -> str:
    from matplotlib import rc_context
    from matplotlib.text import Text

    for words in figure.findobj(Text):
        words.set_parse_math(False)  # type: ignore[attr-defined]  # a dollar sign in a name is a dollar sign
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = _STYLE.sub(_attributes, text)
    for word, colour in _COLOURS.items():
        text = text.replace(f'"{colour}"', f'"var(--{word})"')
    opening = f'<svg role="img" aria-label="{html.escape(visible(description))}"'
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', lambda m: f'{opening} viewBox="{m.group(1)}">', text, count=1)
    return re.sub(r"\n\s*", "\n", text).strip()


def _attributes(match: re.Match[str]) -> str:
    """A style attribute as presentation attributes, which the page's security policy lets through."""
    out = []
    for part in match.group(1).split(";"):
        key, _, value = (s.strip() for s in part.partition(":"))
        if not key or key in _DROPPED:
            continue
        if key == "font":
            font = _FONT.match(value)
            if font:
                out.append(f'font-size="{font["size"]}"')
                out += ['font-weight="600"'] if font["bold"] else []
            continue
        out.append(f'{key}="{value}"')
    return f" {' '.join(out)}" if out else ""
