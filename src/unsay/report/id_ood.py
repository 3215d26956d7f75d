"""What the id-ood experiment found, in words, figures and tables, from id-ood.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from .. import stats
from .experiment import Part, Picture, Table, write_page
from .id_ood_figures import draw
from .id_ood_numbers import (
    ID,
    Comparison,
    balance,
    by_seed,
    comparisons,
    median_steps,
    oddness,
    reached,
    slopes,
)
from .ranks import correlation
from .text import interval, number, percent

Found = Mapping[str, Any]
_TITLE = "Is out-of-distribution data harder to unlearn, and does unlearning it cost less?"
_CELLS = tuple(f"{size} memorisation, {ease}" for size in ("low", "high") for ease in ("easy", "hard"))


def write_id_ood(folder: Path) -> Path:
    """Write figures/, id-ood.md and .html beside id-ood.json; returns the path of the page."""
    found = json.loads((folder / "id-ood.json").read_text(encoding="utf-8"))
    draw(found, folder)
    made = comparisons(found)
    return write_page(folder, "id-ood", _TITLE, lead(found, made), parts(found, made))


def lead(found: Found, made: Mapping[str, Mapping[str, Comparison]]) -> list[str]:
    """What was done, and what became of the two hypotheses."""
    about, seeds = found["about"], len(found["seeds"])
    train = about["train"]
    what = (
        f"{about['model']}; gradient ascent (AdamW, {train['lr']:g} constant) for {train['epochs']:g} steps on forget "
        f"sets of {about['settings']['rows']} rows; {seeds} seed{'s' * (seeds != 1)}, each with rows, models "
        "and walks of its own. "
        "Intervals are 95 %, over seeds; p-values are of exact sign-flip tests over seeds, two-sided, "
        f"whose least value here is {number(2 / 2**seeds)}."
    )
    return [what, verdict(made["steps"][""], 1), verdict(made["cost"][""], 2), *_caveats(found)]


def verdict(test: Comparison, hypothesis: int) -> str:
    """One hypothesis: supported, contradicted or undecided, with the difference, its p-value and effect size."""
    claim = {
        1: "H1, out-of-distribution rows need more steps",
        2: "H2, out-of-distribution rows cost less performance",
    }[hypothesis]
    sign = 1 if hypothesis == 1 else -1
    d = test.difference
    if not d.p < 0.05:
        says = "undecided"
    else:
        says = "supported" if sign * d.value > 0 else "contradicted: it is the other way round"
    unit = "steps" if hypothesis == 1 else "nats per token of held-out loss"
    return f"{claim}: {says}. Difference {_said(test)} {unit}."


def parts(found: Found, made: Mapping[str, Mapping[str, Comparison]]) -> list[Part]:
    """The sections of the page."""
    drawn = {
        name: Picture(f"figures/{name}.svg", text)
        for name, text in {
            "steps": "Quality and performance by step, means over seeds.",
            "seeds": "Every seed: in distribution and, joined to it, out of distribution.",
            "trade-off": "Performance against quality, every seed, up to the step at which exposure is at chance; how "
            "much the gradient of a forget set is that of the rows to keep, and what unlearning it cost.",
        }.items()
    }
    return [
        Part("Steps and costs", list(_compared(made)), [drawn["steps"], drawn["seeds"]], [_table(found, made)]),
        Part("Trade-off", list(_traded(made)), [drawn["trade-off"]]),
        Part("How well the pairs match", list(_matching(found)), tables=[_balance(found)]),
        Part("Memorisation and difficulty", list(_cells_said(found)), tables=[_cells(found)]),
        Part("What an OOD score tells beforehand", list(_forecast(found))),
    ]


def _caveats(found: Found) -> Iterator[str]:
    ends = [reached(walk["points"]) for one in found["seeds"] for walk in one["sets"].values()]
    short = sum(not end.whole for end in ends)
    if short:
        yield (
            f"{short} of {len(ends)} walks end before exposure is at chance: their steps and costs are least values, "
            "and the differences are too small."
        )
    if len(found["seeds"]) < 6:
        yield f"Fewer than six seeds (here {len(found['seeds'])}) cannot reach p < .05 by a sign-flip test."


def _compared(made: Mapping[str, Mapping[str, Comparison]]) -> Iterator[str]:
    for kind in made["steps"]:
        if kind:
            yield (
                f"{kind}: {_said(made['steps'][kind])} steps, {_said(made['cost'][kind])} nats per token, out of "
                "distribution less in distribution."
            )
    for by in ("relex", "genex"):
        yield (
            f"Counted until {'relative' if by == 'relex' else 'generalised'} exposure is 0 instead, the difference is "
            f"{_said(made[f'steps by {by}'][''])} steps."
        )
    yield f"At the step where generalised exposure is 0, the cost differs by {_said(made['cost by genex'][''])}."


def _traded(made: Mapping[str, Mapping[str, Comparison]]) -> Iterator[str]:
    yield (
        "Mean cost over the way from the first exposure to chance, out of distribution less in distribution: "
        f"{_said(made['trade-off'][''])} nats per token."
    )
    yield f"Decay, the rise of the held-out loss a step over the first five: {_said(made['decay'][''])}."
    yield (
        "At the same step, in the middle of the walks, whatever is forgotten by then, the cost differs by "
        f"{_said(made['cost halfway'][''])} nats per token."
    )


def _said(test: Comparison) -> str:
    d = test.difference
    adjusted = f", Holm {number(test.holm)}" if math.isfinite(test.holm) else ""
    effect = f", d = {number(test.effect, 2)}" if math.isfinite(test.effect) else ""
    return f"{number(d.value)} {interval(d.ci)} (n = {d.n}, p = {number(d.p)}{adjusted}{effect})"


def _table(found: Found, made: Mapping[str, Mapping[str, Comparison]]) -> Table:
    heads = {
        "steps": "steps to chance",
        "cost": "cost by then",
        "trade-off": "trade-off",
        "decay": "decay a step",
        "steps by genex": "steps to retrained",
    }
    rows = []
    for kind in found["about"]["settings"]["kinds"]:
        for name in (f"{ID} for {kind}", kind):
            walks = [one["sets"][name] for one in found["seeds"] if name in one["sets"]]
            cells = [_mean(by_seed(found, name, key)) for key in heads]
            first = _mean({str(k): walk["points"][0]["exposure"] for k, walk in enumerate(walks)})
            cosine = _mean({str(k): walk["cosine"] for k, walk in enumerate(walks)})
            done = sum(reached(walk["points"]).whole for walk in walks)
            rows.append([name, first, *cells, cosine, f"{done} of {len(walks)}"])
    header = ("forget set", "exposure before", *heads.values(), "cosine with retain", "reached")
    return Table("Means over seeds; costs in nats per token of held-out loss.", header, rows)


def _mean(values: Mapping[str, float]) -> str:
    if not values:
        return "–"
    found = stats.mean(values, {})
    return f"{number(found.value)} {interval(found.ci, 2)}".strip()


def _matching(found: Found) -> Iterator[str]:
    how = "share of the held-out loss" if found["about"]["settings"]["match"] == "share" else "nats per token"
    halves = found["about"]["settings"]["halves"]
    yield (
        f"Pairs are matched by memorisation as a {how}, "
        + (f"estimated by {halves} models taught halves of the candidates." if halves else "by the proxy.")
    )
    if halves:
        values = [
            correlation([r["proxy"] for r in rows], [r["memorisation"] for r in rows])
            for one in found["seeds"]
            for kind in (ID, *found["about"]["settings"]["kinds"])
            if (rows := [r for r in one["rows"].values() if r["kind"] == kind])
        ]
        known = [value for value in values if math.isfinite(value)]
        if known:
            yield (
                "Within a kind, rank correlation of the cheap proxy (loss without any candidate, less loss with all) "
                f"with counterfactual memorisation: {number(fmean(known))} on average."
            )


def _balance(found: Found) -> Table:
    rows = []
    for kind in found["about"]["settings"]["kinds"]:
        tables = [list(balance(one, kind)) for one in found["seeds"] if one["pairs"].get(kind)]
        for lines in zip(*tables, strict=True):
            sides = [_mean({str(k): line[at] for k, line in enumerate(lines)}) for at in (1, 2)]
            rows.append([f"{kind}: {lines[0][0]}", *sides])
    return Table("Means of the pairs over seeds.", ("", "in distribution", "out of distribution"), rows)


def _cells_said(found: Found) -> Iterator[str]:
    yield (
        "Candidates of all kinds by the medians of memorisation and difficulty within their kind; gradient ascent on "
        "each cell by itself. Rows reach chance at the median step; inf: half of them never do."
    )
    sums: dict[str, list[float]] = {"memorisation": [], "steps": []}
    for one in found["seeds"]:
        for name, walk in one["sets"].items():
            if name in _CELLS:
                end = reached(walk["points"])
                sums["memorisation"].append(fmean(one["rows"][i]["memorisation"] for i in walk["ids"]))
                sums["steps"].append(end.steps)
    if len(sums["memorisation"]) > 2:
        rho = correlation(sums["memorisation"], sums["steps"])
        yield f"Over cells and seeds, steps and mean memorisation have a rank correlation of {number(rho)}."


def _cells(found: Found) -> Table:
    rows = []
    for cell in _CELLS:
        walks = {str(one["seed"]): one["sets"][cell]["points"] for one in found["seeds"] if cell in one["sets"]}
        if not walks:
            continue
        ends = {seed: reached(points) for seed, points in walks.items()}
        medians = {seed: median_steps(points) for seed, points in walks.items()}
        rows.append(
            [
                cell,
                _mean({seed: end.steps for seed, end in ends.items()}),
                _mean({seed: end.cost for seed, end in ends.items()}),
                number(sorted(step for step, _ in medians.values())[len(medians) // 2]),
                percent(fmean(share for _, share in medians.values())),
            ]
        )
    header = ("cell", "steps to chance", "cost by then", "median row's step", "rows that reach chance")
    return Table("Means over seeds.", header, rows)


def _forecast(found: Found) -> Iterator[str]:
    made = slopes(found)
    odd = {
        kind: fmean(oddness(one, kind) for one in found["seeds"] if kind in one["sets"])
        for kind in found["about"]["settings"]["kinds"]
    }
    inside = fmean(oddness(one, name) for one in found["seeds"] for name in one["sets"] if name.startswith(f"{ID} for"))
    scores = ", ".join(f"{kind} {number(value)}" for kind, value in odd.items())
    yield f"Mean OOD score of the forget sets: in distribution {number(inside)}, {scores}."
    for what, estimate in made.items():
        yield (
            f"ln {what} changes by {number(estimate.value)} {interval(estimate.ci)} for each unit of ln(1 + OOD score) "
            f"over the sets of {estimate.n} seeds."
        )
