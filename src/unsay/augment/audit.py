"""G9 and G10: no private content in any training row, and what a reader should look at before trusting the rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ..data.example import Example
from ..data.read import read_rows
from ..errors import DataError, RunError
from ..naming import derive_seed, digest
from ..runs import atomic
from ..writers._words import normal
from .gates import rouge
from .private import Private, new_facts

SAMPLE = 50
"""Rows in the review file."""
UNIQUE = 0.95
"""G6: least share of different vague answers."""
_NOBODY = Example("", "")
"""Whose row a generic row is."""


def check_rows(forget: Sequence[Example], rows: Sequence[Example], private: Private) -> None:
    """G9: no row is a forget row, has a forget answer in it, or a private run of its words. G6: answers differ.

    Args:
        forget: The rows to forget.
        rows: Those to train on; `meta` says ``part``, and of all but generic rows ``item``, the forget row's id, and
            ``qid``.
        private: Of `forget`.

    Raises:
        DataError: every row that breaks it, by its id.
    """
    problems = problems_of(forget, rows, private)
    if problems:
        raise DataError(problems, "do not train on these rows; write them anew with another writer")


def problems_of(forget: Sequence[Example], rows: Sequence[Example], private: Private) -> list[str]:
    """What `check_rows` raises, one line each."""
    by_id = {row.id: row for row in forget}
    problems, seen = [], set()
    for row in rows:
        item = by_id.get(str(row.meta.get("item", "")))
        if item is None and row.meta.get("part") != "generic":
            problems.append(f"G9 {row.id}: belongs to no forget row")
            continue
        if fault := fault_of(row, private, item):
            problems.append(f"G9 {row.id}: {fault}")
        if item is not None:
            key = (item.id, row.meta.get("qid"), row.meta.get("part"), row.id)
            if key in seen:
                problems.append(f"G9 {row.id}: comes twice")
            seen.add(key)
    answers = [normal(row.answer) for row in rows if row.meta.get("part") == "pair"]
    if answers and len(set(answers)) < UNIQUE * len(answers):
        problems.append(f"G6 {len(set(answers))} of {len(answers)} vague answers differ, expected {UNIQUE:.0%}")
    return problems


def fault_of(row: Example, private: Private, item: Example | None = None) -> str:
    """Why one row must not be trained on, "" when it may be.

    Args:
        row: To be trained on.
        private: Of the forget rows.
        item: The forget row that it was made of; None for a generic row.
    """
    joined = f"{row.question} {row.answer}"
    if private.is_original(row.question, row.answer):
        return "is a forget row"
    if private.is_answer(joined) or private.is_answer(row.answer):
        return "is a forget answer"
    completion = row.meta.get("part") == "completion"
    texts = [joined] if completion else [row.question, row.answer]
    if any(private.leak(item or _NOBODY, text) for text in texts):
        return "has private content"
    said = normal(joined if completion else row.answer).split()
    return "has a name, number or address of the forget answer" if item and new_facts(item) & set(said) else ""


def audit(folder: Path | str, forget: Sequence[Example] = (), retain: Sequence[Example] = ()) -> str:
    """What stands in a folder with augmented rows, in Markdown; `SAMPLE` rows go to ``augmented-review.md`` beside it.

    Args:
        folder: Has augmented.jsonl and augmented.json.
        forget: The rows that were augmented; with them G9 is checked again and overlaps are measured.
        retain: The retain rows that were there.

    Raises:
        RunError: no such folder.
        DataError: the rows are not those that the manifest describes, or not readable.
    """
    where = Path(folder).expanduser()
    try:
        about: dict[str, Any] = json.loads((where / "augmented.json").read_text(encoding="utf-8"))
        text = (where / "augmented.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.split("\n") if line]
    except (OSError, ValueError):
        raise RunError(
            f"{where} has no augmented rows", "unsay augment FILE --out FOLDER, or a run of relearn"
        ) from None
    if digest(lines) != about.get("rows_sha"):
        raise DataError(f"{where / 'augmented.jsonl'} was changed after it was written", "write it again")
    rows = read_rows(where / "augmented.jsonl", name="augmented")
    out = ["# Augmented rows", "", _counts(about), "", _histogram(about), "", _lengths(rows)]
    if forget:
        out += ["", _against(forget, retain, rows)]
    atomic.write_text(where / "augmented-review.md", _review(rows, forget, int(about.get("seed", 0))))
    return "\n".join(out) + "\n"


def _counts(about: Mapping[str, Any]) -> str:
    rows = about["rows"]
    return (
        f"{rows['items']} items, {rows['pairs']} pairs, {rows['completions']} completions, {rows['generic']} generic "
        f"rows (ratio {rows['ratio']:.2f}); writer {about['writer']['name']}, seed {about['seed']}."
        + (f"\n\nNote: {about['note']}." if about.get("note") else "")
    )


def _histogram(about: Mapping[str, Any]) -> str:
    """Accepted by try and rejected by gate, one row for each role."""
    parts = {**about["questions"], "vague answer": about["answers"]}
    tries = sorted({how for part in parts.values() for how in part["accepted"]})
    gates = sorted({reason[:2] for part in parts.values() for reason in part["rejected"]})
    head = ["written", *tries, *(f"{gate} rejected" for gate in gates)]
    table = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, part in parts.items():
        by_gate: Counter[str] = Counter()
        for reason, n in part["rejected"].items():
            by_gate[reason[:2]] += n
        cells = [name, *(str(part["accepted"].get(how, 0)) for how in tries), *(str(by_gate[gate]) for gate in gates)]
        table.append("| " + " | ".join(cells) + " |")
    return "\n".join(table)


def _lengths(rows: Sequence[Example]) -> str:
    counts = [len(row.answer.split()) for row in rows if row.meta.get("part") == "pair"]
    if not counts:
        return "No pairs."
    low, middle, high = np.percentile(counts, [5, 50, 95])
    return f"Words of a vague answer: median {middle:.0f}, 5 to 95 %: {low:.0f} to {high:.0f} (n = {len(counts)})."


def _against(forget: Sequence[Example], retain: Sequence[Example], rows: Sequence[Example]) -> str:
    private = Private(forget, [row.answer for row in retain])
    problems = problems_of(forget, rows, private)
    gold = {row.id: row.answer for row in forget}
    recalls = [
        rouge().score(gold[row.meta["item"]], row.answer)["rougeL"].recall
        for row in rows
        if row.meta.get("part") == "pair" and row.meta.get("item") in gold
    ]
    said = "\n".join(f"- {problem}" for problem in problems[:20]) if problems else "G9: no private content in any row."
    if not recalls:
        return said
    mean, high, most = np.mean(recalls), np.percentile(recalls, 95), np.max(recalls)
    return (
        f"{said}\n\nROUGE-L recall of the forget answer, its question's words included: mean {mean:.2f}, 95th "
        f"percentile {high:.2f}, largest {most:.2f} (n = {len(recalls)})."
    )


def _review(rows: Sequence[Example], forget: Sequence[Example], seed: int) -> str:
    pairs = [row for row in rows if row.meta.get("part") == "pair"]
    chosen = Random(derive_seed(seed, "review")).sample(pairs, min(SAMPLE, len(pairs)))
    asked = {row.id: row.question for row in forget}
    out = [f"# {len(chosen)} of {len(pairs)} augmented pairs", ""]
    for row in sorted(chosen, key=lambda r: r.id):
        first = asked.get(str(row.meta.get("item")), "")
        out += [
            f"- **{row.meta.get('kind')}** {row.question}" + (f" (from: {first})" if first else ""),
            f"  - {row.answer}",
        ]
    return "\n".join(out) + "\n"
