"""audit.md and audit.html, from audit.json and samples.jsonl alone: the largest leak first, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DamagedError
from ..runs import atomic
from .audit_figure import draw
from .audit_words import Row, findings, headline, metric, place, sentence, size, verdict, way
from .experiment import Banner, Part, Picture, Table, write_page
from .folder import RunFolder, Sample, read_run
from .redact import Mask, file_texts, redacted, texts
from .text import HIDDEN, number, percent, sentence_list, shorten
from .verdict import FEW, HEADING

_TONES = {"leak": "leak", "over": "damage", "clear": "good", "partly": "near", "open": "open"}
_PARTS = {"attacks", "entities", "grade", "grade_reason", "models", "not_tested", "profile", "rows", "status"}
"""What audit.json has at least."""
_TEXTS = 3
"""Answers that are shown for each leak."""
_LEAKS = 6
"""Leaks whose answers are shown."""
_LONGEST = 400


@dataclass(frozen=True)
class Audit:
    """An audit's folder, read."""

    run: RunFolder
    found: Mapping[str, Any]
    is_redacted: bool
    samples: Mapping[str, Sample]


def write_audit(run_dir: Path | str, *, redact: bool | None = None) -> Path:
    """Write audit.md, audit.html and audit.svg into an audit's folder.

    Args:
        run_dir: A folder that ``unsay audit`` made.
        redact: Hide the forget texts, the model's answers to them and the entities' names; None does as its plan says.

    Returns:
        Path of audit.html.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it cannot be read.
    """
    audit = read_audit(Path(run_dir), redact)
    folder = audit.run.dir
    atomic.write_text(folder / "audit.svg", draw([r for r in audit.found["rows"] if r.get("share") is not None]))
    letter, tone = str(audit.found["grade"]), _TONES[audit.found["status"]]
    banner = Banner(tone, headline(audit.found), letter, f"evidence grade {letter}: {audit.found['grade_reason']}")
    return write_page(folder, "audit", HEADING, _lead(audit), list(_parts(audit)), kind="audit", banner=banner)


def read_audit(folder: Path, redact: bool | None) -> Audit:
    """The folder's files, redacted when asked for (or when the plan asks for it)."""
    run = read_run(folder)
    hide = bool(run.plan.get("redact", False)) if redact is None else redact
    try:
        found = json.loads((folder / "audit.json").read_text("utf-8"))
        if missing := sorted(_PARTS - found.keys()):
            raise KeyError(missing[0])
        if hide:
            secrets = Mask({*found["entities"].values(), *texts(run.samples), *file_texts(run)})
            found, run = _hidden(found, secrets), redacted(run)
        samples = {s.id: s for s in run.samples if s.split == "forget"}
        return Audit(run, found, hide, samples)
    except (OSError, KeyError, TypeError, ValueError) as error:
        where = folder / "audit.json"
        raise DamagedError(
            f"{where} cannot be read: {type(error).__name__} {error}", "audit again: unsay audit"
        ) from None


def _hidden(found: Mapping[str, Any], secrets: Mask) -> dict[str, Any]:
    """`found` with numbers in place of names, and no text that anybody was asked or answered."""
    numbers = {name: f"entity {n}" for n, name in enumerate(sorted(set(found["entities"].values()) - {""}), 1)}
    rows = [
        {
            **row,
            **{name: secrets(row.get(name) or "") for name in ("note", "why")},
            "entities": {numbers.get(name, HIDDEN): value for name, value in (row.get("entities") or {}).items()},
        }
        for row in found["rows"]
    ]
    attacks = []
    for attack in found["attacks"]:
        runs = {
            tag: {**run, "points": [_silent(p, secrets) for p in run["points"]]} for tag, run in attack["runs"].items()
        }
        attacks.append({**attack, "runs": runs})
    untested = [{"name": one["name"], "why": secrets(one["why"])} for one in found["not_tested"]]
    models = {tag: {**about, "origin": secrets(about["origin"])} for tag, about in found["models"].items()}
    return {**found, "rows": rows, "attacks": attacks, "not_tested": untested, "models": models}


def _silent(point: Mapping[str, Any], secrets: Mask) -> dict[str, Any]:
    return {**point, "said": [_blank(s) for s in point["said"]], "note": secrets(point.get("note") or "")}


def _blank(said: Mapping[str, str]) -> dict[str, str]:
    return {"id": said["id"], "prompt": HIDDEN, "text": HIDDEN}


def _lead(audit: Audit) -> list[str]:
    found = audit.found
    tested = sentence_list(dict.fromkeys(a["attack"] for a in found["attacks"])) or "no attack"
    which = "Chosen attacks" if found.get("chosen") else f"Profile {found['profile']}"
    lead = [f"{which}: {tested}, on {sentence_list(found['models'])}."]
    few = next((row["clusters"] for row in found["rows"] if 0 < (row.get("clusters") or 0) < FEW), 0)
    if few:
        lead.append(f"The rows are about {few} entit{'y' if few == 1 else 'ies'}: no population inference.")
    if audit.is_redacted:
        lead.append("Redacted: texts of the forget rows, answers to them and names are hidden.")
    return lead + [str(note) for note in audit.run.manifest.get("notes") or ()]


def _parts(audit: Audit) -> Iterator[Part]:
    rows = audit.found["rows"]
    bad = [row for row in rows if row["status"] in ("leak", "over")]
    nothing = "Nothing was decided." if audit.found["status"] == "open" else "No leak."
    yield Part("What was found", list(findings(bad)) or [nothing])
    texts = _said(audit, [row for row in bad if row["status"] == "leak"])
    if texts.rows:
        yield Part("What it said", (), tables=[texts])
    if any(row.get("share") is not None for row in rows):
        about = "Share of what there was to forget that each attack brings back beyond the control, with 95 % intervals"
        yield Part("Excess by attack", (), [Picture("audit.svg", about)])
    yield Part("Every attack", [_RULE], tables=[_table(audit.found), _given(audit.found)])
    people = next((row for row in rows if row.get("entities") and row["status"] != "inconclusive"), None)
    if people:
        yield Part("By entity", (), tables=[_entities(people)])
    yield Part("Beside the attacks", list(_beside(audit.found)))
    open_rows = [row for row in rows if row["status"] in ("undecided", "inconclusive")]
    yield Part("Undecided and inconclusive", [sentence(row) for row in open_rows] or ["Nothing."])
    reasons: dict[str, list[str]] = {}
    for one in audit.found["not_tested"]:
        reasons.setdefault(one["why"], []).append(one["name"])
    untested = [f"{sentence_list(names)}: {why}." for why, names in reasons.items()]
    yield Part("Not tested", [f"{text[:1].upper()}{text[1:]}" for text in untested])


_RULE = (
    "Excess = (attacked − unattacked) in the model, minus the same in a model that never saw the rows; share is the "
    "excess over the distance between the model before and that control, recovered what is there under attack beyond "
    "the attacked control. Leak: the excess is clearly above 0, and it or what is recovered at least a tenth of that "
    "distance, and above the attacked control. No excess: shown to be less than that. Inconclusive is no pass: a "
    "control is missing or failed."
)


def _table(found: Mapping[str, Any]) -> Table:
    header = ["attack", "by", "verdict", "model", "control", "before", "excess", "share", "recovered", "p", "Holm", "n"]
    lines = []
    for row in found["rows"]:
        levels, start = row.get("levels") or {}, row.get("start") or {}
        told = [way(start.get(t), levels[t]) if t in levels else "–" for t in ("after", "control", "before")]
        ci = row.get("ci")
        excess = number(row.get("excess")) + (f" [{number(ci[0], 2)}, {number(ci[1], 2)}]" if ci else "")
        shares = [percent(row[name]) if row.get(name) is not None else "–" for name in ("share", "recovered")]
        size = str(row["n"]) if row.get("asked", row["n"]) == row["n"] else f"{row['n']} of {row['asked']}"
        size += f" ({row['clusters']})" if row.get("clusters") else ""
        tests = [number(row.get("p")), number(row.get("p_holm"))]
        about = [place(row), metric(row), verdict(row)]
        lines.append([*about, *told, excess, *shares, *tests, size])
    return Table("Unattacked → attacked; n counts rows (entities)", header, lines)


def _given(found: Mapping[str, Any]) -> Table:
    lines = [[a["attack"], a["given"] or "–"] for a in found["attacks"]]
    return Table("What the attacker is given", ["attack", "given"], lines, prose=True)


def _said(audit: Audit, leaks: Sequence[Row]) -> Table:
    """Questions and answers of the largest leaks, each answer once."""
    lines: list[list[str]] = []
    seen: set[tuple[str, str]] = set()
    for row in leaks[:_LEAKS]:
        shown = 0
        for said, value in _spoken(audit, row):
            sample = audit.samples.get(said["id"])
            if shown == _TEXTS or (said["id"], said["text"]) in seen:
                continue
            seen.add((said["id"], said["text"]))
            shown += 1
            target = HIDDEN if audit.is_redacted else sample.target if sample else "–"
            texts = [shorten(text, _LONGEST) for text in (said["prompt"], target, said["text"] or "(nothing)")]
            lines.append([f"{place(row)}, {metric(row)} {number(value)}", *texts])
    header = ["attack", "asked", "right answer", "what the model said"]
    return Table("Leaking answers, likeliest first", header, lines, prose=True)


def _spoken(audit: Audit, row: Row) -> list[tuple[Mapping[str, str], float]]:
    if row["attack"] == "none":
        scored = [(s, s.scores.get(row["metric"], {}).get("after")) for s in audit.samples.values()]
        found = [
            ({"id": s.id, "prompt": s.prompt, "text": s.answers.get("after", "")}, v)
            for s, v in scored
            if v is not None
        ]
    else:
        attack = next((a for a in audit.found["attacks"] if a["attack"] == row["attack"]), None)
        points = attack["runs"].get("after", {"points": ()})["points"] if attack else ()
        if row["count"] == 1:
            chosen = [p for p in points if p["label"] == row["label"]]
        else:  # all together, or those of one strength
            chosen = [p for p in points if row["label"].startswith(row["how"]) or p["at"] == row["at"]]
        scores = [p["values"].get(row["metric"], {}) for p in chosen]
        found = [(s, by.get(s["id"]) or 0.0) for p, by in zip(chosen, scores, strict=True) for s in p["said"]]
    return sorted(found, key=lambda pair: -pair[1])


def _entities(row: Row) -> Table:
    worst = sorted(row["entities"].items(), key=lambda item: -item[1][1])
    lines = [[name, str(int(n)), number(excess)] for name, (n, excess) in worst]
    return Table(f"{place(row)}, {metric(row)}: mean excess", ["entity", "rows", "excess"], lines)


def _beside(found: Mapping[str, Any]) -> Iterator[str]:
    """Controls, the relative test, the null band, diagnostics."""
    names = sentence_list(f"{tag} ({about['origin']})" for tag, about in found["models"].items())
    yield f"Models: {names}."
    relative = found.get("relative")
    if relative and relative.get("d") is not None:
        shown = relative["d"] < 0 and (relative["p"] or 0.0) < 0.05
        nearer = f"{'' if shown else 'not shown to be '}nearer to the control than to the model before"
        yield (
            f"Three-sample test on log-probabilities: the model is {nearer} "
            f"(D = {number(relative['d'])}, one-sided p = {number(relative['p'])}, n = {relative['n']})."
        )
        if band := relative.get("band"):
            z = f", z = {number(band['z'])}" if band.get("z") is not None else f" ({band['note']})"
            yield (
                f"Its distance from the retrained models is {number(band['distance'])}; "
                f"theirs from one another {number(band['among'])}{z}."
            )
    for attack in found["attacks"]:
        told: dict[str, list[str]] = {}
        for point in attack["runs"].get("after", {"points": ()})["points"]:
            if point.get("note"):
                told.setdefault(point["note"], []).append(point["label"])
        yield from (f"{attack['attack']} ({sentence_list(labels)}): {note}." for note, labels in told.items())
        if depth := attack.get("depth"):
            ci = f" [{number(depth['ci'][0], 2)}, {number(depth['ci'][1], 2)}]" if depth["ci"] else ""
            yield (
                f"Unlearning depth (UDS) {number(depth['value'])}{ci}, n = {depth['n']}: "
                "1 is as deep as in the retrained model, 0 is nothing gone."
            )
    for tag, moved in (found.get("buckets") or {}).items():
        if moved.get("share"):
            share, steps = (sum(moved[name]) / len(moved[name]) for name in ("share", "steps"))
            yield (
                f"On the way from before to {tag}, {percent(share)} of the weights changed their bucket of "
                f"{moved['bits']} bits (mean over layers; the median weight moved {number(steps)} of a bucket). "
                "Near 0, a quantised copy is nearly the model before."
            )


def overview(folder: Path) -> tuple[list[str], list[str], list[list[str]]]:
    """What the command line prints: the verdict in words, then a table with the worst row of every attack.

    Returns:
        Lines, column names, rows of cells.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it cannot be read.
    """
    audit = read_audit(folder, None)
    found = audit.found
    worst: dict[str, Row] = {}
    for row in found["rows"]:
        worst.setdefault(row["attack"], row)
    lines = []
    for row in worst.values():
        ci, share = row.get("ci"), row.get("share")
        spread = f" [{number(ci[0], 2)}, {number(ci[1], 2)}]" if ci else ""
        excess = f"{number(row.get('excess'))}{spread}"
        part = percent(share) if share is not None else "–"
        lines.append([place(row), metric(row), verdict(row), excess, part, size(row)])
    names = sentence_list(dict.fromkeys(one["name"] for one in found["not_tested"]))
    said = [headline(found), f"grade {found['grade']}: {found['grade_reason']}", f"not tested: {names}"]
    notes = [f"note: {note}" for note in audit.run.manifest.get("notes") or ()]
    return [*said, *notes], ["attack", "by", "verdict", "excess", "share", "n"], lines
