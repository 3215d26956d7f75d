"""What the related-knowledge experiment found, in words, figures and tables, from related-knowledge.json alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from .. import stats
from ..resampling import FEW
from .experiment import Part, Picture, Table, write_page
from .related_figures import NAMES, draw, gone, k2_plateau
from .text import interval, number, percent, sentence_list

Found = Mapping[str, Any]
_TITLE = "Does forgetting a fact fade what it follows from, and does going further help?"


def write_related_knowledge(folder: Path) -> Path:
    """Write figures/, related-knowledge.md and .html beside related-knowledge.json; returns the path of the page."""
    found = json.loads((folder / "related-knowledge.json").read_text(encoding="utf-8"))
    draw(found, folder)
    return write_page(folder, "related-knowledge", _TITLE, lead(found), parts(found))


def lead(found: Found) -> list[str]:
    """What was done and what came out, shortest first."""
    about, chosen = found["about"], found["uipe"]["chosen"]
    persons = len(set(about["persons"].values()))
    train = about["train"]
    what = (
        f"{about['model']}, method {about['method']['name']}, {train['epochs']:g} epochs at {train['lr']:g}; "
        f"{about['rows']['k1']} facts of {persons} persons are forgotten. Intervals are 95 %, clustered where "
        "there are persons enough; p-values of forget quality have none."
    )
    return [what, helps(found), *([flagged(found)] if flagged(found) else []), *_few(persons, chosen)]


def parts(found: Found) -> list[Part]:
    """The sections of the page."""
    base = found["variants"]["theta1"]["choice"]["epoch"]
    about = {
        "epochs": "Epoch by epoch, after figure 2 of the paper. Forget quality is the p-value of TOFU's test against "
        "the model taught without the forgotten rows; dotted: 0.05; rings: base epochs.",
        "k1-and-k2": "θ1, after figure 3 of the paper.",
        "relatedness": "Cosine of the NLL gradients of a K1 row and its K2 row, or a K3 row of the same person; all "
        f"weights; before unlearning and at epoch {base}.",
        "alpha": f"From epoch {base} of θ1, after figure 7 of the paper.",
        "before-and-after": "K1 and K2, after figure 8 of the paper.",
    }
    drawn = {name: Picture(f"figures/{name}.svg", text) for name, text in about.items()}
    return [
        Part("With and without related knowledge", list(_compared(found)), [drawn["epochs"]], [_variants(found)]),
        Part("Does K2 fade although it is not unlearned?", list(_faded(found)), [drawn["k1-and-k2"]]),
        Part("Relatedness", list(_related(found)), [drawn["relatedness"]]),
        Part("Going further", list(_further(found)), [drawn["alpha"], drawn["before-and-after"]], [_stations(found)]),
    ]


def helps(found: Found) -> str:
    """Whether UIPE is better than where it starts and than one more epoch, in one sentence."""
    walk, uipe = found["variants"]["theta1"], found["uipe"]
    base = walk["choice"]["epoch"]
    start, more, alpha = walk["epochs"][base - 1], walk["epochs"][base], uipe["chosen"]["alpha"]
    bound = uipe["chosen"]["keep"]
    if not alpha:
        return (
            f"UIPE does not help here: from epoch {base}, no α of the grid has a better forget quality than "
            f"{_p(start)} while keeping {percent(bound)} of the utility."
        )
    after = _at(uipe, "uipe", alpha)
    text = (
        f"UIPE from epoch {base} with α = {alpha:g} takes the forget quality of K1 from {_p(start)} to {_p(after)} at "
        f"{percent(_share(after, walk))} of the utility; one more epoch instead has {_p(more)} at "
        f"{percent(_share(more, walk))}."
    )
    if _value(more) >= _value(after) and _share(more, walk) >= bound:
        return f"{text} One more epoch does as well: nothing here speaks for UIPE."
    beside = _at(uipe, "random", alpha)
    return f"{text} A random step of the same length has {_p(beside)} at {percent(_share(beside, walk))}."


def flagged(found: Found) -> str:
    """The models that hold the right answer less likely than chance; "" when there is none."""
    names = [name for name, point in _every(found) if point["options@k1"]["below"]]
    if not names:
        return ""
    chance = found["variants"]["theta1"]["before"]["options@k1"]["chance"]
    return (
        f"Below chance: among right and wrong answers the right one has less than {percent(chance)} with "
        f"{sentence_list(names)}. That is avoidance of an answer, or a broken model, and not ignorance."
    )


def _few(persons: int, chosen: Found) -> Iterator[str]:
    if persons < FEW:
        yield f"{persons} persons: the intervals are over facts and say nothing about other persons."
    if chosen["keep"] < 0.9:
        yield f"No epoch kept 90 % of the utility; the bound was relaxed to {percent(chosen['keep'])}."


def _compared(found: Found) -> Iterator[str]:
    """The paper's three observations, each with what was seen here."""
    variants = found["variants"]
    for name, walk in variants.items():
        epoch = walk["choice"]["epoch"]
        point = walk["epochs"][epoch - 1]
        yield (
            f"{NAMES[name]}. Base epoch {epoch}: forget quality {_p(walk['before'])} → {_p(point)}, K1 probability "
            f"{_mean(walk['before'], 'probability@k1')} → {_mean(point, 'probability@k1')} (retrained "
            f"{_mean(walk['retrained'], 'probability@k1')}), utility {percent(_share(point, walk))} of before."
        )
    claims = (
        ("theta2", "The paper sees K1 forgotten less in θ1 than in θ2"),
        ("theta3", "The paper sees K1 forgotten less in θ1 than in θ3"),
    )
    for other, claim in claims:
        difference = _over_epochs(found, "theta1", other)
        verdict = _verdict(difference, ("so it is here", "here it is the other way round", "undecided here"))
        yield (
            f"{claim}: {verdict}. Averaged over the epochs, K1 answers keep {_said(difference)} more of their "
            "first probability in θ1."
        )
    batch = found["about"]["train"]["batch"]
    said = (
        f"{name} {percent(fmean(_share(point, walk) for point in walk['epochs']))} "
        f"({math.ceil(walk['forget_rows'] / batch)} steps an epoch)"
        for name, walk in zip(("θ1", "θ2", "θ3"), variants.values(), strict=True)
    )
    yield (
        f"Utility averaged over the epochs, share of before: {sentence_list(said)}. The paper sees less of it in θ1 "
        "than in θ2, and as much in θ3. More steps an epoch are a larger dose; only the base epochs share a bound."
    )


def _faded(found: Found) -> Iterator[str]:
    walk = found["variants"]["theta1"]
    base, last = walk["choice"]["epoch"], len(walk["epochs"])
    for epoch in dict.fromkeys((base, last)):
        lost = {kind: _lost(found, kind, epoch) for kind in ("k1", "k2", "k3")}
        means = {kind: fmean(values.values()) for kind, values in lost.items()}
        more = stats.paired_difference(lost["k2"], lost["k3"], _people(found))
        verdict = _verdict(more, ("more than K3", "less than K3", "no more and no less than K3 as far as can be told"))
        yield (
            f"By epoch {epoch}, K1 has lost {percent(means['k1'])} of its first probability, K2 {percent(means['k2'])} "
            f"and K3 {percent(means['k3'])}. K2 lost {verdict}: difference {_said(more)}."
        )
    first = {kind: number(walk["before"][f"probability@{kind}"]["value"]) for kind in ("k2", "k3")}
    yield (
        f"Before, K2 answers have a probability of {first['k2']} and K3 answers {first['k3']}: where these differ, so "
        "may the fading, related or not."
    )
    stop = k2_plateau(walk)
    yield (
        f"K2 stops fading at epoch {stop}: later epochs stay within 5 % of the whole rise."
        if stop
        else "K2 has no plateau within these epochs: it fades up to the last one, or not at all. The paper's figure 8 "
        "goes on from a plateau, which cannot be done here."
    )


def _related(found: Found) -> Iterator[str]:
    means, differences = found["relatedness"]["means"], found["relatedness"]["differences"]
    n = means["before"]["k2"]["n"]
    for tag, when in (("before", "Before unlearning"), ("after", "At the base epoch")):
        one, other = means[tag]["k2"], means[tag]["k3"]
        d = _said(stats.Difference(**differences[tag]))
        yield (
            f"{when}, R(K1, K2) is {number(one['value'])} {interval(one['ci'])} and R(K1, K3) {number(other['value'])} "
            f"{interval(other['ci'])} (n = {n}); difference {d}."
        )
    change = stats.Difference(**differences["k2"])
    words = ("R(K1, K2) rose", "R(K1, K2) fell", "R(K1, K2) did not change as far as can be told")
    yield f"{_verdict(change, words)}: {_said(change)}."


def _further(found: Found) -> Iterator[str]:
    yield helps(found)
    walk, uipe = found["variants"]["theta1"], found["uipe"]
    start = walk["epochs"][walk["choice"]["epoch"] - 1]
    alpha = uipe["chosen"]["alpha"] or max(p["alpha"] for p in uipe["points"] if p["kind"] == "uipe")
    after, beside = _at(uipe, "uipe", alpha), _at(uipe, "random", alpha)
    for kind in ("k1", "k2"):
        name = f"probability@{kind}"
        step = _paired(after, start, name, found)
        noise = _paired(beside, start, name, found)
        yield (
            f"α = {alpha:g} changes the probability of {kind.upper()} by {_said(step)}; "
            f"the random step of the same length by {_said(noise)}."
        )
    back = next(p for p in uipe["points"] if p["kind"] == "back")
    turned = _paired(back, start, "probability@k1", found)
    words = ("brings K1 back", "takes K1 further away", "does nothing to K1 that can be told")
    yield f"The control α = {number(back['alpha'], 2)} {_verdict(turned, words)}: {_said(turned)}."
    if uipe["auto"]["alpha"] is None:
        yield f"No α was found automatically: {uipe['auto']['note']}."
    else:
        point = next(p for p in uipe["points"] if p["kind"] == "auto")
        yield (
            f"The automatic α is {uipe['auto']['alpha']:.2f}, found with {uipe['auto']['looks']} looks: forget quality "
            f"{_p(point)} at {percent(_share(point, walk))} of the utility."
        )
    yield from _from_plateau(found)
    known = walk["retrained"]["probability@k1"]["value"]
    if known is not None and (after["probability@k1"]["value"] or 0) < known:
        yield (
            f"With α = {alpha:g}, K1 answers are less likely than in the retrained model "
            f"({_mean(walk['retrained'], 'probability@k1')}): that is more than forgetting."
        )


def _from_plateau(found: Found) -> Iterator[str]:
    """What going on from where K2 stops fading does; the paper's figure 8 begins there."""
    walk, plateau = found["variants"]["theta1"], found.get("plateau")
    stop = k2_plateau(walk)
    if plateau:
        start = walk["epochs"][plateau["epoch"] - 1]
        far = max((p for p in plateau["points"] if p["kind"] == "uipe"), key=lambda p: float(p["alpha"]))
        yield (
            f"From epoch {plateau['epoch']}, where K2 stops fading, UIPE with α = {far['alpha']:g} takes the forget "
            f"quality of K1 from {_p(start)} to {_p(far)}, 1 − p(K2) from {_gone(start, 'probability@k2')} to "
            f"{_gone(far, 'probability@k2')}, and utility from {_utility(start, walk)} to {_utility(far, walk)}."
        )
    elif stop and stop != walk["choice"]["epoch"]:
        yield f"UIPE from epoch {stop}, where K2 stops fading, was not measured: its weights were not kept."


def _variants(found: Found) -> Table:
    kinds = ("FQ (p)", "1 − p(K1)", "utility")
    header = ("epoch", *(f"{name}: {kind}" for name in ("θ1", "θ2", "θ3") for kind in kinds))
    walks = list(found["variants"].values())
    rows = []
    for epoch in range(max(len(walk["epochs"]) for walk in walks) + 1):
        cells = [str(epoch)]
        for walk in walks:
            points = [walk["before"], *walk["epochs"]]
            here = points[epoch] if epoch < len(points) else None
            mark = " (base)" if epoch == walk["choice"]["epoch"] else ""
            known = [] if here is None else [_p(here) + mark, _gone(here, "probability@k1"), _utility(here, walk)]
            cells += known or ["–"] * len(kinds)
        rows.append(cells)
    return Table("Every epoch; 0 is before, the base epoch is marked.", header, rows)


def _stations(found: Found) -> Table:
    walk = found["variants"]["theta1"]
    metrics = ("probability", "extraction-strength")
    header = ("θ1", "FQ of K1 (p)", "1 − p(K1)", "1 − ES(K1)", "1 − p(K2)", "1 − ES(K2)", "utility", "right option")
    rows = []
    for name, point in _every(found):
        option = point["options@k1"]
        cells = [_gone(point, f"{metric}@{kind}") for kind in ("k1", "k2") for metric in metrics]
        flag = " below chance" if option["below"] else ""
        rows.append([name, _p(point), *cells, _utility(point, walk), f"{number(option['value'])}{flag}"])
    chance = percent(walk["before"]["options@k1"]["chance"])
    caption = (
        "From the base epoch, unless another is named. Right option: its share among right and wrong answers, chance "
        f"{chance}."
    )
    return Table(caption, header, rows)


def _every(found: Found) -> Iterator[tuple[str, Found]]:
    walk, uipe = found["variants"]["theta1"], found["uipe"]
    base = walk["choice"]["epoch"]
    yield "before", walk["before"]
    yield "retrained", walk["retrained"]
    yield f"base epoch {base}", walk["epochs"][base - 1]
    yield "one more epoch", walk["epochs"][base]
    names = {"uipe": "UIPE, α = {:g}", "auto": "UIPE, α = {:.2f} (automatic)", "back": "back, α = {:g} (control)"}
    for point in uipe["points"]:
        yield names.get(point["kind"], "random direction, α = {:g}").format(point["alpha"]), point
    if plateau := found.get("plateau"):
        yield f"epoch {plateau['epoch']}, K2's plateau", walk["epochs"][plateau["epoch"] - 1]
        for point in plateau["points"]:
            name = names.get(point["kind"], "random direction, α = {:g}").format(point["alpha"])
            yield f"from epoch {plateau['epoch']}: {name}", point


def _over_epochs(found: Found, one: str, other: str) -> stats.Difference:
    """Share of the first probability of every K1 row that is left, averaged over the epochs both have: a difference."""
    last = min(len(found["variants"][name]["epochs"]) for name in (one, other))
    means = []
    for name in (one, other):
        losses = [_lost(found, "k1", epoch, name) for epoch in range(1, last + 1)]
        means.append({i: 1 - fmean(lost[i] for lost in losses) for i in losses[0]})
    return stats.paired_difference(means[0], means[1], _people(found))


def _lost(found: Found, kind: str, epoch: int, name: str = "theta1") -> dict[str, float]:
    """Share of its first probability that every row has lost, by fact, so that kinds can be paired."""
    walk, key = found["variants"][name], f"probability@{kind}"
    first, now = walk["before"]["rows"][key], walk["epochs"][epoch - 1]["rows"][key]
    return {_fact(i): 1 - now[i] / first[i] for i in first if i in now and first[i] > 0}


def _paired(one: Found, other: Found, name: str, found: Found) -> stats.Difference:
    return stats.paired_difference(one["rows"][name], other["rows"][name], found["about"]["persons"])


def _fact(row: str) -> str:
    """The row's id without its kind: person and attribute."""
    return row.rpartition(".")[0]


def _people(found: Found) -> dict[str, str]:
    return {_fact(i): person for i, person in found["about"]["persons"].items()}


def _verdict(difference: stats.Difference, words: tuple[str, str, str]) -> str:
    """Which of: positive, negative, undecided. By the interval, and by the sign-flip test where persons allow one."""
    if difference.ci and difference.ci[0] > 0:
        return words[0]
    if difference.ci and difference.ci[1] < 0:
        return words[1]
    return words[2]


def _said(difference: stats.Difference) -> str:
    """Value and interval; the p-value where there are persons enough for one."""
    p = f", p = {number(difference.p)}" if difference.clusters >= FEW else ""
    return f"{number(difference.value)} {interval(difference.ci)}{p}"


def _at(uipe: Found, kind: str, alpha: float) -> Found:
    return next(p for p in uipe["points"] if p["kind"] == kind and p["alpha"] == alpha)  # type: ignore[no-any-return]


def _value(point: Found) -> float:
    value = point["forget-quality@k1"]["value"]
    return -1.0 if value is None else float(value)


def _p(point: Found) -> str:
    value = point["forget-quality@k1"]["value"]
    return "–" if value is None else f"{value:.2g}"


def _share(point: Found, walk: Found) -> float:
    whole = walk["before"]["utility"]["value"]
    return (point["utility"]["value"] or 0.0) / whole if whole else 0.0


def _mean(point: Found, name: str) -> str:
    return f"{number(point[name]['value'])} {interval(point[name]['ci'])}".strip()


def _gone(point: Found, name: str) -> str:
    value, ends = gone(point, name)
    return f"{number(value)} {interval(ends) if point[name]['ci'] else ''}".strip()


def _utility(point: Found, walk: Found) -> str:
    return percent(_share(point, walk))
