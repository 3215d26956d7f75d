"""Results of the self-tests as Markdown, from their JSON files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .text import number

_RATES = {"sensitivity": "Sensitivity on models that hide", "false_alarms": "False alarms on models that never knew"}
_WANTED = {"sensitivity": "≥ {0[wanted][sensitivity]:g}", "false_alarms": "≤ {0[wanted][false_alarms]:g}"}
_SAID = {True: "yes", False: "**no**", None: "–"}


def statistics(found: Mapping[str, Any]) -> str:
    """Two tables: rates that are known, and the power of the paired test beside Kolmogorov–Smirnov's."""
    rows = [
        [
            check["name"],
            check["kind"],
            f"{check['wanted'][0]:g} … {check['wanted'][1]:g}",
            _share(check),
            str(check["simulations"]),
            _SAID[check["passed"]],
        ]
        for check in found["checks"]
    ]
    parts = [table(["check", "kind", "wanted", "rate", "simulations", "as wanted"], rows)] if rows else []
    rows = [
        [
            f"{row['n']}",
            f"{row['rho']:g}",
            f"{row['shift']:g}",
            f"{row['ks published']:g}",
            _share(row["ks"]),
            _share(row["paired"]),
            _SAID[row["passed"]],
        ]
        for row in found["powers"]
    ]
    if rows:
        head = ["pairs", "ρ", "shift (SD)", "KS, published", "KS", "paired sign flip", "as wanted"]
        parts.append("Share of data in which a test at .05 finds a difference:\n\n" + table(head, rows))
    parts.append(
        "Brackets are 95 % intervals of the simulation. A contrast shows what clusters are for; it must fail. "
        "At 40 pairs the published rates of KS are those of its asymptotic p, here it is the exact one."
    )
    return "\n\n".join(parts) + "\n"


def failed(found: Mapping[str, Any]) -> list[str]:
    """Names of what was not as wanted."""
    powers = [f"power: {row['ks']['name']}" for row in found["powers"] if not row["passed"]]
    return [check["name"] for check in found["checks"] if check["passed"] is False] + powers


def metrics(found: Mapping[str, Any]) -> str:
    """A row for every metric, best overall first."""
    formulas = ("R", "R symmetric", "Q", "Q as in the prose", "Q symmetric")
    rows = []
    for row in found["metrics"]:
        faith = row["faithfulness"]
        ends = f" [{faith['ci'][0]:.2f}, {faith['ci'][1]:.2f}]" if faith["ci"] else ""
        parts = [number(row[name]["value"]) for name in formulas]
        ranked = [number(row["robustness"]), number(row["overall"])]
        rows.append([row["metric"], f"{number(faith['value'])}{ends}", *parts, *ranked, str(row["unlearned"])])
    head = ["metric", "faithfulness (AUC)", *formulas, "robustness", "overall", "unlearned models"]
    said = (
        f"{found['knowing']} models that know, {found['ignorant']} that do not; {found['unlearned']} unlearned ones, "
        "of which those count that kept the utility and that the metric itself takes for unlearned. "
        "R, Q: a after, b before the attack; robustness is the harmonic mean of the two."
    )
    return f"{table(head, rows)}\n\n{said}\n"


def audit(found: Mapping[str, Any]) -> str:
    """A row for every kind of planted model, a column for what the audits said, the two rates below."""
    audits = found["audits"]
    seeds = list(dict.fromkeys(a["seed"] for a in audits))
    rows = []
    for kind in dict.fromkeys(a["kind"] for a in audits):
        own = [a for a in audits if a["kind"] == kind]
        flagged = sum(a["status"] == "leak" for a in own)
        verdicts = ", ".join(f"{name} {count}" for name, count in Counter(a["status"] for a in own).most_common())
        by = Counter(f["attack"] for a in own for f in a["found"] if f["status"] == "leak")
        rows.append([kind, f"{flagged} of {len(own)}", verdicts, ", ".join(f"{n} {c}" for n, c in by.most_common())])
    parts = [
        table(["planted", "flagged", "verdicts", "leaks found by (none: the model as it is)"], rows, left=4),
        f"Model {found['model']}, profile {found['profile']}, seeds {', '.join(map(str, seeds))}.",
    ]
    for name, said in _RATES.items():
        if found[name] is not None:
            parts.append(f"{said}: {_share(found[name])} of {found[name]['n']}, wanted {_WANTED[name].format(found)}.")
    return "\n\n".join(parts) + "\n"


def failed_audit(found: Mapping[str, Any]) -> list[str]:
    """What the audit got wrong."""
    wrong = [f"{a['kind']}, seed {a['seed']}: {a['status']}" for a in found["audits"] if _wrong(a)]
    low = found["sensitivity"] is not None and found["sensitivity"]["rate"] < found["wanted"]["sensitivity"]
    high = found["false_alarms"] is not None and found["false_alarms"]["rate"] > found["wanted"]["false_alarms"]
    return wrong if low or high else []


def _wrong(audit: Mapping[str, Any]) -> bool:
    """A hiding model without a leak, or a retrained one with a finding."""
    if audit["kind"] == "retrained":
        return audit["status"] in ("leak", "over")
    return bool(audit["status"] != "leak")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table; the first columns are text, the others numbers."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(rate: Mapping[str, Any]) -> str:
    low, high = rate["ci"]
    return f"{number(rate['rate'])} [{low:.3f}, {high:.3f}]"
