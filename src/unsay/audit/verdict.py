"""What the numbers of an audit mean: the status of every row, the evidence's grade, what was not tested.

leak: the excess is clearly above 0 and at least the margin, what is there under attack is clearly above the attacked
control, and the excess is more than retrained models differ by. The excess may be less than the margin where what is
there under attack is not: what was left without attack and what the attack adds count together. none: shown to lie
below the margin. over: the model as it is lies clearly below one that never saw the rows, which marks them as well.
undecided: too few rows for either. inconclusive: a control is missing or failed; that is no pass.

A leak stays one whatever Holm's adjustment says; the adjusted p-value stands beside the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import stats
from .excess import MARGIN, UNATTACKED, cells, controls_of, membership_row, relative, row
from .profile import BEYOND, left_out

PRIMARY = (UNATTACKED, "probability@forget")
"""The one endpoint that is declared beforehand and not adjusted: attack and metric."""
ORDER = ("leak", "over", "undecided", "inconclusive", "none")


def conclude(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` with its rows (largest leak first), relative test, grade and verdict: the content of audit.json."""
    entities = record["entities"]
    rows = [row(cell, entities) for cell in cells(record)]
    names = dict.fromkeys(name for by in record["membership"].values() for name in by)
    rows += [membership_row(name, record, len(names)) for name in names]
    for one in rows:
        one["status"] = status(one)
        one["asked"] = one["n"] if one["kind"] == "membership" else len(record["members"])
    _adjust(rows)
    rows.sort(key=lambda r: (ORDER.index(r["status"]), -(r.get("share") or 0.0)))
    letter, why = grade(record, rows)
    untested = {
        **left_out(record["profile"], {attack["kind"] for attack in record["attacks"]}),
        **record["refused"],
        **({} if names else {"membership inference": "there are no holdout rows"}),
        **dict(BEYOND),
    }
    return {
        **record,
        "margin": MARGIN,
        "rows": rows,
        "relative": relative(record, PRIMARY[1]),
        "grade": letter,
        "grade_reason": why,
        "status": overall(rows, letter),
        "not_tested": [{"name": name, "why": reason} for name, reason in untested.items()],
    }


def status(row: Mapping[str, Any]) -> str:
    """leak, over, none, undecided or inconclusive."""
    excess, ci = row.get("excess"), row.get("ci")
    if row.get("why") or excess is None:
        return "inconclusive"
    margin, fixed = row["margin"], row.get("verdict")
    low, high = ci if ci else (excess, excess) if fixed in ("equivalent", "different") else (None, None)
    if low is None or high is None:
        return "undecided"
    if low > 0 and excess >= margin:
        if excess <= max(row["band"], default=0.0):
            return "undecided"
        return "leak" if _above(row.get("left")) else "undecided" if _reaches(row.get("left"), margin) else "none"
    if low > 0 and _together(row, margin):
        return "leak"
    over = row["kind"] in ("none", "membership") and high < 0 and excess <= -margin
    if over:
        return "over" if excess < min(row["band"], default=0.0) else "undecided"
    below = high < margin and row["kind"] not in ("none", "membership")
    return "none" if below or fixed == "equivalent" or (-margin < low and high < margin) else "undecided"


def _above(left: Mapping[str, Any] | None) -> bool:
    """Whether a model that had been pushed below its control came back above it."""
    return left is None or (left["ci"][0] if left["ci"] else left["value"]) > 0


def _together(row: Mapping[str, Any], margin: float) -> bool:
    """Whether what the attack adds and what was left without it are clearly something, and as much as the margin."""
    left = row.get("left")
    if left is None or left["ci"] is None or left["ci"][0] <= 0 or left["value"] < margin:
        return False
    return bool(left["value"] > max(row["left_band"], default=0.0))


def _reaches(left: Mapping[str, Any] | None, margin: float) -> bool:
    return left is None or (left["ci"][1] if left["ci"] else left["value"]) >= margin


def _adjust(rows: list[dict[str, Any]]) -> None:
    """Holm over all tests but the primary one."""
    p_values = {str(i): r["p"] for i, r in enumerate(rows) if r.get("p") is not None and not _primary(r)}
    adjusted = stats.holm(p_values)
    for i, one in enumerate(rows):
        if one.get("p") is not None:
            one["p_holm"] = adjusted.get(str(i), one["p"])
            one["primary"] = _primary(one)


def _primary(row: Mapping[str, Any]) -> bool:
    return (row["attack"], row["metric"]) == PRIMARY


def grade(record: Mapping[str, Any], rows: list[dict[str, Any]]) -> tuple[str, str]:
    """How good the controls are, not how good the result is.

    A: before and retrained models that the run itself made or named, and attacks on all of them. B: a control, but
    one that was handed in or replaced, or a base model, or no model before. C: no model that never saw the rows.
    """
    tags = list(record["models"])
    controls = controls_of(tags)
    if not controls:
        return "C", "there is no control: no model that never saw the rows was attacked"
    if controls == ["base"]:
        return "B", "the control is the base model, which never saw the rows but was not trained like this one either"
    if "before" not in tags:
        return "B", "no model before unlearning was attacked, so nothing shows that the attacks work"
    if not record["from_run"]:
        return "B", "the controls were handed in: that they were trained alike, without the rows, is taken on trust"
    if lost := [tag for tag in record.get("replaced", ()) if tag != "after"]:
        return "B", f"what the run wrote down is no longer there: another {' and '.join(lost)} model was attacked"
    if not any(r["attack"] != UNATTACKED and r["status"] != "inconclusive" for r in rows):
        return "B", "there is a retrained control, but no attack decides anything"
    return "A", "every attack was run on the retrained model and on the model before as well"


def overall(rows: list[dict[str, Any]], letter: str) -> str:
    """leak, over, clear, partly or open: what the whole audit shows; clear only if every attack decided something."""
    seen = {r["status"] for r in rows}
    if "leak" in seen:
        return "leak"
    if "over" in seen:
        return "over"
    if letter == "C" or "none" not in seen:
        return "open"
    decided = {r["attack"] for r in rows if r["status"] == "none"}
    return "clear" if "undecided" not in seen and decided == {r["attack"] for r in rows} else "partly"
