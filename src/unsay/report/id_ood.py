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
    HYPOTHESES,
    ID,
    Comparison,
    balance,
    by_seed,
    comparisons,
    ended,
    enough,
    gaps,
    median_steps,
    oddness,
    reached,
    slopes,
)
from .ranks import correlation
from .text import interval, number, percent

Found = Mapping[str, Any]
_TITLE = "Is out-of-distribution data harder to unlearn, and does unlearning it cost less?"
_CALIPER = 0.05
"""Largest mean difference of pairs, out − in distribution, in the share or the nats they match by, without a word."""
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
        "Intervals are 95 %, over seeds; p-values are of sign-flip tests over seeds, two-sided, whose least value here "
        f"is {number(max(2 / 2**seeds, 1e-4))}. Two hypotheses for each kind of canary are a family of {_tests(found)} "
        "tests, judged by Holm's p-values; all other p-values of this page are exploratory. d_z is the mean of the "
        "differences over their standard deviation."
    )
    return [what, *(verdict(_kinds(made[name]), k + 1) for k, name in enumerate(HYPOTHESES)), *_caveats(found)]


def verdict(tests: Mapping[str, Comparison], hypothesis: int) -> str:
    """One hypothesis by kind: supported, contradicted or undecided, with differences, p-values and effect sizes."""
    claim = {
        1: "H1, out-of-distribution rows need more steps",
        2: "H2, out-of-distribution rows cost less performance",
    }[hypothesis]
    found = {kind: _outcome(test, 1 if hypothesis == 1 else -1) for kind, test in tests.items()}
    alike = len(set(found.values())) == 1
    says = next(iter(found.values())) if alike else "; ".join(f"{kind} {says}" for kind, says in found.items())
    unit = "steps" if hypothesis == 1 else "nats per token of held-out loss"
    differences = "; ".join(f"{kind} {_said(test)}" for kind, test in tests.items())
    return f"{claim}: {says}. Differences in {unit}: {differences}."


def _outcome(test: Comparison, sign: int) -> str:
    if not test.holm < 0.05:
        return "undecided"
    if test.censored:
        return "undecided (censored)"
    return "supported" if sign * test.difference.value > 0 else "contradicted, it is the other way round"


def _kinds(tests: Mapping[str, Comparison]) -> dict[str, Comparison]:
    return {kind: test for kind, test in tests.items() if kind}


def _tests(found: Found) -> int:
    return len(HYPOTHESES) * len(found["about"]["settings"]["kinds"])


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
    kinds = found["about"]["settings"]["kinds"]
    for by, level in (
        ("exposure", "exposure is at chance"),
        ("relex", "relative exposure is 0"),
        ("genex", "generalised exposure is 0"),
    ):
        (few, inside), (more, outside) = (
            ended(found, [f"{prefix}{kind}" for kind in kinds], by) for prefix in (f"{ID} for ", "")
        )
        if few or more:
            yield (
                f"{few} of {inside} walks in distribution and {more} of {outside} out of distribution end before "
                f"{level}: their steps and costs are least values. A difference whose sign they may have made is "
                "censored."
            )
    if len(found["seeds"]) < (least := enough(_tests(found))):
        yield (
            f"Fewer than {least} seeds (here {len(found['seeds'])}) cannot reach p < .05 by a sign-flip test after "
            f"Holm's adjustment over {_tests(found)} tests."
        )


def _compared(made: Mapping[str, Mapping[str, Comparison]]) -> Iterator[str]:
    yield (
        "Out of distribution less in distribution, the mean over kinds of each seed: "
        f"{_said(made['steps'][''])} steps, {_said(made['cost'][''])} nats per token."
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
    adjusted = f", Holm {number(test.holm)}" if math.isfinite(test.holm) else ", exploratory"
    effect = f", d_z = {number(test.effect, 2)} {interval(test.effect_ci, 2)}" if test.effect_ci else ""
    censored = ", censored" if test.censored else ""
    return f"{number(d.value)} {interval(d.ci)} (n = {d.n}, p = {number(d.p)}{adjusted}{effect}{censored})"


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
    caption = (
        "Means over seeds; costs in nats per token of held-out loss. Walks that end early count with their last step."
    )
    return Table(caption, header, rows)


def _mean(values: Mapping[str, float]) -> str:
    if not values or not all(map(math.isfinite, values.values())):
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
                "Within a kind, rank correlation of the cheap proxy (loss without any candidate, less loss with all, "
                "less the same of rows of the kind never seen) with counterfactual memorisation: "
                f"{number(fmean(known))} on average."
            )
    for kind in found["about"]["settings"]["kinds"]:
        for what, gap in gaps(found, kind).items():
            if abs(gap) > _CALIPER:
                yield (
                    f"{kind}: pairs differ by {number(gap)} in what they match by ({what}), beyond the caliper of "
                    f"{_CALIPER:g}: a difference of this kind may be one of memorisation."
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
        "each cell by itself. The median row is that of a seed; no number: in some seed half of the rows never reach "
        "chance."
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
                _mean({seed: step for seed, (step, _) in medians.items()}),
                percent(fmean(share for _, share in medians.values())),
                f"{sum(end.whole for end in ends.values())} of {len(ends)}",
            ]
        )
    header = ("cell", "steps to chance", "cost by then", "median row's step", "rows that reach chance", "reached")
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
