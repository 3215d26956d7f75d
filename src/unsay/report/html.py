"""report.html: one file that loads nothing, runs only its own script, and shows model text as text."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from . import plots
from .findings import label
from .folder import RunFolder, finite
from .forecast import forecast_lines
from .table import Row, grouped, headline
from .text import interval, island, number, seconds, shorten, significant, size, visible
from .verdict import HEADING, judge

_HERE = Path(__file__).parent
_WORDS = {"leak": "leak", "damage": "damage", "open": "undecided", "near": "near", "good": "as hoped"}
_SHOWN = 8
"""Findings that are open to begin with; they come worst first."""
_LONGEST = 4000
"""Characters of one text that go into the page; the rest stays in samples.jsonl."""
_STRIP = (6.0, 112.0)
"""Left end and width of the small 0-to-1 scale, in its own units."""


def page(run: RunFolder, *, is_redacted: bool) -> str:
    """The report as HTML text. `run` is redacted already when it should be."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def shown(value: Any) -> Any:
        return visible(value) if type(value) is str else value

    jinja = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True
    )
    return jinja.get_template("page.html").render(_context(run), is_redacted=is_redacted)


def _context(run: RunFolder) -> dict[str, Any]:
    from markupsafe import Markup

    style, script = (_HERE / "page.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")
    manifest = run.manifest
    groups = grouped(run)
    return {
        # Markup is for this package's own files, pictures drawn here, and the island, which escapes itself.
        "style": Markup(style),
        "script": Markup(script),
        "style_hash": _csp_hash(style),
        "script_hash": _csp_hash(script),
        "data": Markup(island(_examples(run))),
        "heading": HEADING,
        "title": str(manifest.get("name") or run.dir.name),
        "created": _moment(str(manifest.get("created") or "")),
        "status": str(manifest.get("status") or "unknown"),
        "error": str(manifest.get("error") or ""),
        "verdict": judge(run),
        "words": _WORDS,
        "shown": _SHOWN,
        "known": ("before", "after", "retrained"),
        "tags": run.tags,
        "headline": [_row(run, r) for r in headline(run)] if run.scores else [],
        "groups": [(name, [_row(run, r) for r in rows]) for name, rows in groups] if run.scores else [],
        "metric_count": sum(len(rows) for _, rows in groups),
        "benchmark": run.benchmark,
        "cite": run.cite,
        "tradeoff": [{**p, "svg": Markup(p["svg"])} for p in _tradeoff(run)],
        "training": [{**p, "svg": Markup(p["svg"])} for p in _training(run)],
        "attacks": [{**a, "svg": Markup(a["svg"])} for a in _attacks(run)],
        "example_count": len(run.samples),
        "command": command(run),
        "plan_text": run.plan_text,
        "notes": [*map(str, manifest.get("notes") or ()), *forecast_lines(run)],
        **_cost(manifest),
        "models": _models(manifest),
        "facts": _facts(run),
    }


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%d %B %Y, %H:%M %Z").strip().lstrip("0")
    except ValueError:
        return text


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def command(run: RunFolder) -> str:
    """What to type to repeat the run, as one shell line."""
    words = [str(w) for w in run.manifest.get("command") or ()]
    if not words:
        return f"unsay run {shlex.quote(str(run.dir / 'plan.yaml'))}"
    first = Path(words[0]).name
    return shlex.join(["unsay" if first in ("__main__.py", "unsay") else words[0], *words[1:]])


def _row(run: RunFolder, row: Row) -> dict[str, Any]:
    marks = []
    for at, (tag, cell) in enumerate(zip(run.tags, row.cells, strict=True)):
        if cell.value is None:
            continue
        if not 0 <= cell.value <= 1:
            return _plain_row(run, row, [])
        low, high = (_place(cell.ci[0]), _place(cell.ci[1])) if cell.ci else (None, None)
        known = tag if tag in ("before", "after", "retrained") else "other"
        marks.append({"tag": known, "x": _place(cell.value), "y": 4 + 6 * (at % 3), "low": low, "high": high})
    return _plain_row(run, row, marks)


def _plain_row(run: RunFolder, row: Row, marks: list[dict[str, Any]]) -> dict[str, Any]:
    metric = row.metric
    return {
        "name": metric.title,
        "split": metric.split if metric.split not in metric.title else "",
        "summary": metric.summary,
        "notes": row.notes,
        "beside": row.beside(run.tags),
        "cells": [{"value": number(c.value), "interval": interval(c.ci, 2)} for c in row.cells],
        "strip": marks,
        "wanted": row.wanted,
        "n": row.n,
    }


def _place(value: float) -> float:
    return round(_STRIP[0] + _STRIP[1] * min(max(value, 0.0), 1.0), 1)


def _tradeoff(run: RunFolder) -> list[dict[str, str]]:
    svg = plots.tradeoff(run)
    text = "Forgetting against usefulness, with 95 % intervals."
    if "retrained" in run.tags:
        text += " The blue diamond, a model that never saw the rows, is where a perfect method would end."
    return [{"svg": svg, "name": "Trade-off", "caption": text}] if svg else []


def _training(run: RunFolder) -> list[dict[str, str]]:
    note = "Loss by optimiser step. It should rise on the forget rows and stay low on the retain rows."
    return [
        {"svg": svg, "name": stage or "training", "caption": note if stage == "unlearn" else "Loss by optimiser step."}
        for stage, svg in plots.training(run)
    ]


def _attacks(run: RunFolder) -> list[dict[str, Any]]:
    made = []
    for curve in run.attacks:
        for metric in dict.fromkeys(p.metric for p in curve.points):
            points = [
                {
                    "target": p.target,
                    "label": p.label,
                    "at": f"{p.at:g}",
                    "value": number(p.value),
                    "interval": interval(p.ci),
                    "n": p.n,
                }
                for p in curve.points
                if p.metric == metric
            ]
            svg = plots.attack(run, curve, metric)
            name = label(run.metric(metric))
            made.append(
                {
                    "name": curve.attack,
                    "metric": name,
                    "axis": curve.axis,
                    "note": curve.note,
                    "svg": svg,
                    "points": points,
                }
            )
    return [a for a in made if a["svg"]]


def _examples(run: RunFolder) -> dict[str, Any]:
    """The rows for the browser. Scores go by metric name without the split: a row has one. Classes go as words."""
    names = list(dict.fromkeys(m.partition("@")[0] for s in run.samples for m in _by_headline(run, s.scores)))
    rows = []
    for s in run.samples:
        own: dict[str, dict[str, Any]] = {}
        for metric, by_tag in s.scores.items():
            name, _, split = metric.partition("@")
            if name not in own or split == s.split:
                own[name] = {t: significant(v) for t, v in by_tag.items()}
                own[name] |= {t: _cut(word) for t, word in s.labels.get(metric, {}).items()}
        rows.append(
            {
                "i": _cut(s.id),
                "s": _cut(s.split),
                "e": _cut(s.entity),
                "p": _cut(s.prompt),
                "t": _cut(s.target),
                "a": [_cut(s.answers[t]) if t in s.answers else None for t in run.tags],
                "v": [[own[n].get(t) for t in run.tags] if n in own else None for n in names],
            }
        )
    return {"tags": [visible(t) for t in run.tags], "metrics": [visible(n) for n in names], "rows": rows}


def _by_headline(run: RunFolder, metrics: Mapping[str, Any]) -> list[str]:
    return sorted(metrics, key=lambda m: run.headline.index(m) if m in run.headline else len(run.headline))


def _cut(text: str) -> str:
    return visible(shorten(text, _LONGEST))


def _cost(manifest: Mapping[str, Any]) -> dict[str, Any]:
    rows: Sequence[Mapping[str, Any]] = manifest.get("stages") or ()
    stages = []
    for row in rows:
        took, peak, tokens = finite(row.get("seconds")), finite(row.get("peak_bytes")), finite(row.get("tokens"))
        stages.append(
            {
                "name": str(row.get("name", "")),
                "time": "–" if took is None else seconds(took),
                "memory": size(peak) if peak else "–",
                "tokens": f"{tokens:,.0f}" if tokens else "–",
                "rate": f"{tokens / took:,.0f}" if tokens and took else "–",
                "sweeps": str(row.get("sweeps") or "–"),
                "status": str(row.get("status", "")),
            }
        )
    peaks = [p for r in rows if (p := finite(r.get("peak_bytes")))]
    tokens_together = sum(finite(r.get("tokens")) or 0 for r in rows)
    total = {
        "time": seconds(sum(finite(r.get("seconds")) or 0.0 for r in rows)),
        "memory": size(max(peaks)) if peaks else "–",
        "tokens": f"{tokens_together:,.0f}" if tokens_together else "–",
    }
    return {"stages": stages, "total": total}


def _models(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    models = [
        {
            "name": f"model: {tag}",
            "origin": str(m.get("origin") or m.get("path") or ""),
            "fingerprint": str(m.get("fingerprint") or ""),
        }
        for tag, m in (manifest.get("models") or {}).items()
    ]
    data = [
        {
            "name": f"data: {split} ({d.get('n', '?')} rows)",
            "origin": str(d.get("source") or ""),
            "fingerprint": str(d.get("fingerprint") or ""),
        }
        for split, d in (manifest.get("data") or {}).items()
    ]
    return models + data


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    manifest = run.manifest
    machine, git = manifest.get("machine") or {}, manifest.get("git") or {}
    facts = [
        ("plan hash", manifest.get("plan_hash")),
        ("seed", manifest.get("seed")),
        ("precision", manifest.get("precision")),
        ("processor", machine.get("cpu")),
        ("cores", machine.get("cores")),
        ("threads", machine.get("threads")),
        ("memory", size(float(machine["memory_bytes"])) if finite(machine.get("memory_bytes")) else None),
        ("platform", machine.get("platform")),
        (
            "commit",
            f"{git['commit']}{' with local changes' if git.get('dirty') else ''}" if git.get("commit") else None,
        ),
        ("packages", ", ".join(f"{k} {v}" for k, v in (manifest.get("packages") or {}).items())),
        ("report format", manifest.get("schema_version")),
    ]
    return [(key, str(value)) for key, value in facts if value not in (None, "")]
