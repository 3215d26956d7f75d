"""What the numbers say, finding by finding: leaks, damage (forgetting too much is a failure too), what stays open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .folder import AttackCurve, MetricInfo, RunFolder
from .gaps import Gap, gap
from .text import interval, number, percent, sentence_list

MARGIN = 0.1
"""Equivalence margin: this share of the distance between the before and the retrained model, fixed beforehand."""
HEADROOM = 0.05
"""Below this share of the larger of the two, that distance is too short to measure a share of it."""
UTILITY = 0.9
"""Share of the before model's utility that has to be left."""
BROKEN = 0.5
"""Below this share the model counts as broken."""
FLUENCY = 0.1
"""Change of a fluency score (repetition, 0 to 1) that counts as damage."""
REDIRECTED, PARAPHRASED = 0.9, 0.7
"""Share of forget questions, and of their paraphrases, after which an unlearning token should come first."""
ASTRAY = 0.02
"""Share of other questions after which it may."""
CHANCE = 0.5
"""AUC of a membership test that knows nothing."""
MEMBERSHIP = 0.05
"""Distance of an AUC from the control's that counts."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict."""

    status: Literal["leak", "damage", "open", "near", "good"]
    """near: where it should be, as far as so few rows can tell."""
    title: str
    text: str
    size: float = 0.0
    """For the order: share of what there was to forget (leaks) or to keep (damage)."""


def label(metric: MetricInfo) -> str:
    """``probability (forget)``."""
    return f"{metric.title} ({metric.split})" if metric.split and metric.split not in metric.title else metric.title


def forgetting(run: RunFolder) -> list[Finding]:
    """Is each forgetting metric where a model stands that never saw the rows?"""
    found = [_residue(run, m) for m in _ordered(run, "forget") if m.wanted in ("down", "match")]
    found += [_quality(run, m) for m in _ordered(run, "forget") if m.wanted == "up"]
    return _on_target(run) + _merge(
        [f for f in found if f],
        "Forgotten as far as the retrained model",
        "Near the retrained model, but too few rows to call it equal",
    )


def _on_target(run: RunFolder) -> list[Finding]:
    """Does the unlearning token come where it should? A level, which needs no control: no other model has the token."""
    found = []
    for metric, value, ci in _rates(run, "up"):
        level = PARAPHRASED if "paraphrased" in metric.id else REDIRECTED
        text = f"{number(value)} {interval(ci)}; {percent(level)} is asked for."
        if ci[1] < level:
            title = f"The unlearning token comes after {percent(value)} of the questions alone: {label(metric)}"
            found.append(Finding("leak", title, text, 1 - value))
        else:
            found.append(Finding("good" if ci[0] >= level else "near", label(metric), text, 1 - value))
    title = "The unlearning token comes first after the forget questions"
    return _merge(found, title, f"{title}, as far as so few rows can tell")


def _off_target(run: RunFolder) -> list[Finding]:
    """Does the unlearning token stay away from what is to be kept? A level, as `_on_target`."""
    found = []
    for metric, value, ci in _rates(run, "down"):
        text = f"{number(value)} {interval(ci)}; at most {percent(ASTRAY)} is asked for."
        if ci[0] > ASTRAY:
            title = f"Refuses {percent(value)} of what is to be kept: {label(metric)}"
            found.append(Finding("damage", title, text, value))
        else:
            found.append(Finding("good" if ci[1] <= ASTRAY else "near", label(metric), text, value))
    title = "The unlearning token stays away from what is to be kept"
    return _merge(found, title, f"{title}, as far as so few rows can tell")


def _rates(run: RunFolder, wanted: str) -> list[tuple[MetricInfo, float, tuple[float, float]]]:
    """Token rates that should go one way, with their intervals; none of a model without the token."""
    found = []
    for metric in run.metrics:
        after = run.score("after", metric.id)
        if _is_rate(metric) and metric.wanted == wanted and after.value is not None:
            found.append((metric, after.value, after.ci or (after.value, after.value)))
    return found


def _is_rate(metric: MetricInfo) -> bool:
    return metric.id.startswith("token-rate")


def _residue(run: RunFolder, metric: MetricInfo) -> Finding | None:
    name = label(metric)
    after, before, retrained = (run.score(tag, metric.id) for tag in ("after", "before", "retrained"))
    if after.value is None:
        return Finding("open", f"No number for {name}", after.note or "It was not measured.")
    distance = gap(run, metric.id, "after", "retrained")
    if distance is None:
        return _without_control(run, metric)
    numbers = f"{number(after.value)} after, {number(retrained.value)} retrained"
    headroom = gap(run, metric.id, "before", "retrained")
    if headroom is None:
        return Finding("open", f"No before model for {name}", f"{numbers}; what there was to forget is unknown.")
    numbers = f"{number(before.value)} before, {numbers}"
    little = HEADROOM * max(abs(before.value or 0.0), abs(retrained.value or 0.0))
    if abs(headroom.value) <= little or (headroom.ci and not headroom.clear):
        return _without_headroom(metric, distance, retrained.value or 0.0, numbers)
    share = distance.over(headroom.value)
    left = f"{percent(share.value)} of the distance between before and retrained is left{_range(share)} ({numbers})."
    if abs(share.value) <= MARGIN:
        shown = share.ci is not None and max(map(abs, share.ci)) <= MARGIN
        return Finding("good" if shown else "near", name, left, abs(share.value))
    if share.clear and share.value > 0:
        # Some measures rise with forgetting: what is left of them is a way to go.
        falls = f"{percent(share.value)} of the {name} is still there"
        rises = f"{name} has {percent(share.value)} of its way still to go"
        return Finding("leak", falls if headroom.value > 0 else rises, left, share.value)
    if share.clear:
        text = (
            f"{numbers}: {percent(-share.value)} of that distance beyond a model that never saw these rows"
            f"{_range(share)}. Rows pushed that far stand out, which tells which ones they were."
        )
        return Finding("damage", f"Over-forgotten by {name}", text, -share.value)
    wide = "the interval includes the retrained level" if share.ci else "there is no interval"
    return Finding("open", f"Undecided by {name}", f"{left} But {wide}.", abs(share.value))


def _without_headroom(metric: MetricInfo, distance: Gap, level: float, numbers: str) -> Finding | None:
    """Before and retrained agree: nothing was to change here, so a clear change is harm (to what is related, say)."""
    name = label(metric)
    if distance.clear and abs(distance.value) > MARGIN * max(abs(level), 0.1):
        text = f"{numbers}: the retrained model is where the before model was, this one is not{_range(distance)}."
        return Finding("damage", f"Changed without need: {name}", text, abs(distance.value))
    if not metric.split.startswith("forget"):
        return None  # it stayed as it should; the table says so
    text = f"{numbers}: before and retrained agree, so this metric shows neither success nor failure."
    return Finding("open", f"{name} has nothing to forget", text)


def _without_control(run: RunFolder, metric: MetricInfo) -> Finding:
    name = label(metric)
    after, before = run.score("after", metric.id), run.score("before", metric.id)
    change = gap(run, metric.id, "after", "before")
    if change is None:
        text = f"{number(after.value)} {interval(after.ci)} after, with no other model to compare with."
        return Finding("open", f"{name} alone says nothing", text)
    numbers = f"{number(before.value)} before, {number(after.value)} after"
    if metric.wanted == "down" and before.value == 0 == after.value:
        text = f"{numbers}: the model did not show it before either, so nothing could go."
        return Finding("open", f"{name} has nothing to forget", text)
    # Without a control only this can be judged: what did not change, or should fall and rose, is a leak in any case.
    unchanged = change.value == 0 or (change.ci is not None and not change.clear)
    if unchanged or (metric.wanted == "down" and change.value > 0):
        why = "it rose" if metric.wanted == "down" and change.value > 0 else "the change is within its interval"
        return Finding("leak", f"No change in {name} was shown", f"{numbers}: {why}.", 1.0)
    text = f"{numbers}. Without a retrained model nobody can say how far this should have gone."
    return Finding("open", f"{name} has no control", text)


def _quality(run: RunFolder, metric: MetricInfo) -> Finding | None:
    after = run.score("after", metric.id)
    if after.value is None:
        return Finding("open", f"No number for {label(metric)}", after.note or "It was not measured.")
    if after.value < 0.05:
        text = f"p = {number(after.value)}, n = {after.n}. The test does not say in which direction."
        return Finding("open", f"{label(metric)} tells the model from the retrained one", text, 1.0)
    text = f"p = {number(after.value)}, n = {after.n}: no difference found, which is weaker than none being there."
    return Finding("near", label(metric), text)


def utility(run: RunFolder) -> list[Finding]:
    """Is the model still good at everything else, and does it not refuse it?"""
    found = []
    for metric in _ordered(run, "utility"):
        after, before = run.score("after", metric.id), run.score("before", metric.id)
        if metric.wanted != "up":
            continue
        name = label(metric)
        if after.value is None or before.value is None:
            headline = metric.id in run.headline
            found += [
                Finding("open", f"No number for {name}", after.note or before.note or "It was not measured.")
            ] * headline
            continue
        if before.value <= 0:
            found.append(
                Finding(
                    "open", f"{name} was nothing before", "The before model scores 0, so no share of it can be left."
                )
            )
            continue
        ratio = after.value / before.value
        numbers = f"{number(before.value)} before, {number(after.value)} after"
        control = run.score("retrained", metric.id).value
        numbers += f", {number(control)} retrained" if control is not None else ""
        text = f"{percent(ratio)} of the before model's {name} is left ({numbers})."
        if ratio >= UTILITY:
            found.append(Finding("good", name, text, 1 - ratio))
        else:
            title = "The model is broken" if ratio < BROKEN else "Usefulness was lost"
            found.append(Finding("damage", f"{title}: {percent(ratio)} of the {name} is left", text, 1 - ratio))
    return _off_target(run) + _merge(found, f"At least {percent(UTILITY)} of the usefulness is left")


def fluency(run: RunFolder) -> list[Finding]:
    """Does the model still write, or does it repeat itself?"""
    found = []
    for metric in _ordered(run, "fluency"):
        base = (
            "retrained"
            if metric.wanted == "match" and run.score("retrained", metric.id).value is not None
            else "before"
        )
        change = gap(run, metric.id, "after", base)
        if metric.wanted is None or change is None:
            continue
        worse = {"down": change.value, "up": -change.value}.get(metric.wanted, abs(change.value))
        numbers = (
            f"{number(run.score(base, metric.id).value)} {base}, {number(run.score('after', metric.id).value)} after"
        )
        if worse > FLUENCY:
            found.append(
                Finding("damage", f"The text got worse by {label(metric)}", f"{numbers}{_range(change)}.", worse)
            )
        else:
            found.append(Finding("good", label(metric), f"{numbers}.", worse))
    return _merge(found, "The text is as fluent as before")


def membership(run: RunFolder) -> list[Finding]:
    """Can one tell that the rows were once trained on? Both ways: a signal below chance names them just as well."""
    found = []
    for metric in _ordered(run, "privacy"):
        after, control = run.score("after", metric.id), run.score("retrained", metric.id).value
        name = label(metric)
        if after.value is None:
            found.append(Finding("open", f"No number for {name}", after.note or "It was not measured."))
            continue
        if metric.id.partition("@")[0] == "privleak":  # a difference in percent, no AUC
            finding = _residue(run, metric)
            found += [finding] if finding else []
            continue
        if not 0 <= after.value <= 1:
            continue
        signal = gap(run, metric.id, "after", "retrained") or _from_chance(after.value, after.ci)
        level = f"the retrained model's {number(control)}" if control is not None else "chance, 0.500"
        numbers = f"AUC {number(after.value)} {interval(after.ci)} against {level}"
        if abs(signal.value) <= MEMBERSHIP:
            found.append(Finding("good", name, f"{numbers}.", abs(signal.value)))
        elif not signal.clear:
            found.append(Finding("open", f"Undecided by {name}", f"{numbers}: too few rows to tell these apart."))
        elif signal.value > 0:
            found.append(Finding("leak", f"Membership shows by {name}", f"{numbers}.", signal.value / CHANCE))
        else:
            title = f"Membership below {'chance' if after.value < CHANCE else 'the control'} by {name}"
            text = f"{numbers}: the forgotten rows stand out as less likely than rows that were never seen."
            found.append(Finding("damage", title, text, -signal.value / CHANCE))
    return _merge(found, "Membership tests see no more than in the control")


def _from_chance(value: float, ci: tuple[float, float] | None) -> Gap:
    return Gap(value - CHANCE, (ci[0] - CHANCE, ci[1] - CHANCE) if ci else None, paired=False)


def attacks(run: RunFolder) -> list[Finding]:
    """How much does each attack bring back, beyond what it does to a model that never saw the rows?"""
    found = []
    for curve in run.attacks:
        for metric in dict.fromkeys(p.metric for p in curve.points):
            finding = _recovery(run, curve, run.metric(metric))
            found += [finding] if finding else []
    return _merge(found, "The attack brought back no more than in the control")


def _recovery(run: RunFolder, curve: AttackCurve, metric: MetricInfo) -> Finding | None:
    """Excess = [attacked after − after] − [attacked retrained − retrained], at the point where it is largest."""
    name = label(metric)
    start, control_start = run.score("after", metric.id).value, run.score("retrained", metric.id).value
    ours = {p.label: p for p in curve.points if p.metric == metric.id and p.target == "after" and p.value is not None}
    control = {
        p.label: p for p in curve.points if p.metric == metric.id and p.target == "retrained" and p.value is not None
    }
    if not ours or start is None:
        return Finding("open", f"{curve.attack} gave no number for {name}", curve.note or "It was not measured.")
    shared = [point for point in ours if point in control]
    if not shared or control_start is None:
        most = max(ours.values(), key=lambda p: p.value or 0.0)
        text = (
            f"{name} went from {number(start)} to {number(most.value)} ({most.label}). Without the same attack on a "
            "retrained model, what came back cannot be told from what the attack taught."
        )
        return Finding("open", f"{curve.attack} has no control", text)
    before = run.score("before", metric.id).value
    excess = {p: (ours[p].value or 0.0) - start - (control[p].value or 0.0) + control_start for p in shared}
    top = max(shared, key=lambda point: excess[point])
    headroom = before - control_start if before is not None else None
    share = excess[top] / headroom if headroom is not None and abs(headroom) >= 0.02 else None
    a, b = ours[top], control[top]
    text = (
        f"{name} went from {number(start)} to {number(a.value)} {interval(a.ci)} ({a.label}); the retrained model "
        f"under the same attack went from {number(control_start)} to {number(b.value)} {interval(b.ci)}: "
        f"{number(excess[top])} more"
    )
    if share is None:
        return Finding(
            "open", f"{curve.attack}: nothing to measure the recovery by", f"{text}, with no headroom in {name}."
        )
    text += f", {percent(share)} of what there was to forget."
    if share <= MARGIN:
        return Finding("good", f"{curve.attack} by {name}", text, max(share, 0.0))
    if a.ci and b.ci and a.ci[0] <= b.ci[1]:
        return Finding("open", f"Undecided: {curve.attack} by {name}", f"{text} But the two intervals overlap.", share)
    return Finding("leak", f"{curve.attack} brought {percent(share)} back by {name}", text, share)


def _ordered(run: RunFolder, kind: str) -> list[MetricInfo]:
    """Metrics of a kind, headline ones first; token rates have levels of their own."""
    chosen = (m for m in run.metrics if m.kind == kind and not _is_rate(m))
    return sorted(chosen, key=lambda m: m.id not in run.headline)


def _range(share: Gap) -> str:
    if not share.ci:
        return ""
    return f", 95 % interval {number(share.ci[0], 2)} to {number(share.ci[1], 2)}"


def _merge(found: Iterable[Finding], title: str, near: str = "") -> list[Finding]:
    """The good ones as one finding (and the near ones as another), so that what needs attention is not buried."""
    rows = list(found)
    merged = [f for f in rows if f.status not in ("good", "near")]
    clean = not merged
    for status, heading in (("near", near), ("good", title)):
        same = [f for f in rows if f.status == status]
        if same:
            furthest = max(same, key=lambda f: f.size)
            detail = f"Furthest off: {furthest.text}" if len(same) > 1 else furthest.text
            whole = heading if clean and len(same) == len(rows) else f"{heading}, by some measures"
            merged.append(
                Finding(furthest.status, whole, f"By {sentence_list(f.title for f in same)}. {detail}", furthest.size)
            )
    return merged
