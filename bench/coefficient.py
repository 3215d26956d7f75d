"""The automatic coefficient against the best of a dense grid: ``python -m bench.coefficient RUN [RUN …]``.

For each finished run: the line through its before and after models; `extrapolate`'s search (bounds: 90 % of the
probability of the rows to keep, the holdout rows' level), and the same bounds on a grid of places. Both are judged by
the mean probability of the forget answers; the best of the grid is the lowest within the bounds.
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
from unsay.training.batch import encode_rows
from unsay.training.coefficient import farthest, kept_rows, probability
from unsay.training.weights import working

KEEP = 0.9


def compare(folder, places, most):
    """One run: what the search found in how many looks, and the best of the grid."""
    models, data = ends(Path(folder))
    line = Line(LM.load(models["before"]), LM.load(models["after"]))
    with Run.temporary() as run:
        found = farthest(line, data, run, keep=KEEP, most=most)
        kept = kept_rows(data, run.seed)
    chosen = next(point for point in found.points if point.s == found.chosen)
    start = found.points[0]
    rows = {name: encode_rows(members, line.at(0.0).template) for name, members in (("f", data.forget), ("k", kept))}
    grid = []
    with fast_attention(line.at(0.0), max(row.length for members in rows.values() for row in members)):
        for i in range(1, places + 1):
            s = most * i / places
            lm = line.at(s)
            with working(lm.model, run.train.precision, lm.device):
                grid.append((s, *(probability(lm, rows[name]) for name in ("f", "k"))))
    fits = [(p, s) for s, p, k in grid if k >= KEEP * start.keep and (found.floor is None or p >= found.floor)]
    best, at = min(fits, default=(start.forget, 0.0))
    return {
        "run": Path(folder).name,
        "before": start.forget,
        "floor": found.floor,
        "auto": {"s": chosen.s, "forget": chosen.forget, "keep": chosen.keep / start.keep, "looks": len(found.points)},
        "grid": {"s": at, "forget": best, "looks": places},
        "gap": (chosen.forget - best) / start.forget,
        "points": [dataclasses.astuple(point) for point in found.points],
        "dense": grid,
    }


def table(found):
    """Markdown."""
    lines = [
        "| base run | forget before | auto: s | forget | looks | grid: s | forget | looks | auto − grid, of before |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        auto, grid = one["auto"], one["grid"]
        lines.append(
            f"| {one['run']} | {one['before']:.3f} | {auto['s']:.2f} | {auto['forget']:.3f} | {auto['looks']} "
            f"| {grid['s']:.2f} | {grid['forget']:.3f} | {grid['looks']} | {one['gap']:+.1%} |"
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
