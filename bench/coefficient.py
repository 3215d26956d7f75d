"""The automatic coefficient against the best of a dense grid: ``python -m bench.coefficient RUN [RUN …]``.

For each finished run: the line through its before and after models; `extrapolate`'s search (bounds: 90 % of the
probability of the rows to keep, the holdout rows' level), and the same bounds on a grid of places, dense up to 1.2
times the first place beyond a bound. Both are judged on the same rows, by the mean probability of the forget answers;
the best of the grid is the lowest within the bounds. Reading the holdout rows once counts as a look, of both.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from unsay.line import ends
from unsay.models.line import Line
from unsay.models.lm import LM
from unsay.runs.run import Run
from unsay.training.attention import fast_attention
from unsay.training.coefficient import farthest, looked_at, probability
from unsay.training.weights import working

KEEP = 0.9
BEYOND = 1.2
"""How far the grid goes on after the first place beyond a bound."""


def compare(folder, places, most):
    """One run: what the search found in how many looks, and the best of the grid."""
    models, data, limit = ends(Path(folder))
    line = Line(LM.load(models["before"]), LM.load(models["after"]))
    with Run.temporary() as run:
        run.plan = dataclasses.replace(run.plan, data=dataclasses.replace(run.plan.data, max_length=limit))
        found = farthest(line, data, run, keep=KEEP, most=most)
        rows, _ = looked_at(line.at(0.0), data, run)
    chosen = next(point for point in found.points if point.s == found.chosen)
    start = found.points[0]
    far = min(most, BEYOND * min((point.s for point in found.points if point.s > found.chosen), default=most))
    grid = []
    with fast_attention(line.at(0.0), max(row.length for members in rows.values() for row in members)):
        for i in range(1, places + 1):
            s = far * i / places
            lm = line.at(s)
            with working(lm.model, run.train.precision, lm.device):
                grid.append((s, *(probability(lm, rows[name]) for name in ("forget", "keep"))))
    fits = [(p, s) for s, p, k in grid if k >= KEEP * start.keep and (found.floor is None or p >= found.floor)]
    best, at = min(fits, default=(start.forget, 0.0))
    return {
        "run": Path(folder).name,
        "before": start.forget,
        "floor": found.floor,
        "auto": {"s": chosen.s, "forget": chosen.forget, "keep": chosen.keep / start.keep},
        "grid": {"s": at, "forget": best},
        "gap": (chosen.forget - best) / start.forget,
        "points": [dataclasses.astuple(point) for point in found.points],
        "dense": grid,
    }


def looks(one):
    """How often a model was looked at by the search, and by the grid."""
    return tuple(len(places) + (one["floor"] is not None) for places in (one["points"], [None, *one["dense"]]))


def bound(one):
    """Which bound ended the search."""
    (_, _, kept), beyond = one["points"][0], [point for point in one["points"] if point[0] > one["auto"]["s"]]
    if not beyond:
        return "the farthest place allowed"
    _, forget, keep = min(beyond)
    over = {f"{KEEP:.0%} of the rows to keep": 1 - keep / (KEEP * kept)}
    over |= {} if one["floor"] is None else {"holdout rows": 1 - forget / one["floor"]}
    return max(over, key=over.get)


def table(found):
    """Markdown."""
    lines = [
        "| base run | forget before | auto: s | forget | looks | ended by | grid: s | up to | forget | looks "
        "| auto − grid, of before |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        auto, grid, (ours, dense) = one["auto"], one["grid"], looks(one)
        lines.append(
            f"| {one['run']} | {one['before']:.3f} | {auto['s']:.2f} | {auto['forget']:.3f} | {ours} | {bound(one)} "
            f"| {grid['s']:.2f} | {one['dense'][-1][0]:.2f} | {grid['forget']:.3f} | {dense} | {one['gap']:+.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--places", type=int, default=100)
    parser.add_argument("--most", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("runs/coefficient.json"))
    arguments = parser.parse_args()
    results = []
    for name in arguments.runs:
        results.append(compare(name, arguments.places, arguments.most))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(table(results[-1:]).splitlines()[-1], flush=True)
    print(table(results))
