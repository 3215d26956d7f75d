"""Rows of ReLearn's evaluation (arXiv:2502.11190), one generation each, read and checked.

Every row brings the question, the prediction and the right answer; entities, entity coverage, NLI label, ROUGE-L recall
and linguistic numbers where somebody has computed them already. The names are those of the authors' code and of their
published rows (`KEYS`), upper and lower case alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.strict import Raw, raw_rows, show
from ..errors import DataError
from ..naming import file_digest

KEYS: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "question", "prompt"),
    "pred": ("pred", "prediction", "generated_response", "response"),
    "gold": ("gold", "ground_truth", "answer"),
    "entity": ("entity", "author", "subject"),
    "entities_gold": ("entities_gold", "gold_entities"),
    "entities_pred": ("entities_pred", "pred_entities"),
    "uncovered": ("ecs_pairs",),
    "coverage": ("coverage", "ecs"),
    "nli": ("nli", "nli_label"),
    "rouge": ("rougel_recall", "rouge_l_recall", "rougel"),
    "ppl": ("ppl", "perplexity"),
    "bi": ("bi", "brunet"),
    "hs": ("hs", "honore"),
    "rttr": ("rttr", "ttr", "root_ttr"),
}
"""What is read → the names it may have. ``ecs_pairs`` holds 1 − E in the published rows, ``coverage`` E itself."""
_TEXTS = ("query", "pred", "gold")
_LABELS = ("entailment", "neutral", "contradiction")
_RANGES: Mapping[str, tuple[float, float, str]] = {
    "rouge": (0.0, 1.0, "a number from 0 to 1"),
    "ppl": (1.0, math.inf, "a number of at least 1, or null for an empty prediction"),
    "bi": (0.0, math.inf, "a number of at least 0"),
    "hs": (0.0, math.inf, "a number of at least 0"),
    "rttr": (0.0, math.inf, "a number of at least 0"),
    "coverage": (0.0, math.inf, "a number of at least 0"),
    "uncovered": (-math.inf, 1.0, "1 minus the coverage, so at most 1"),
}
_HINT = (
    "one JSON object a line: query, pred and gold as texts; where known entities_gold and entities_pred (lists of "
    "texts), ecs_pairs (1 − E) or coverage (E), nli, rougeL_recall, ppl, bi, hs, rttr"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One generation and what is known about it; None where the file does not say."""

    query: str
    pred: str
    gold: str
    entity: str = ""
    entities_gold: tuple[str, ...] | None = None
    entities_pred: tuple[str, ...] | None = None
    pairs: int | None = None
    """Pairs of entities that are alike: E times the entities of the right answer."""
    nli: str | None = None
    rouge: float | None = None
    ppl: float | None = None
    bi: float | None = None
    hs: float | None = None
    rttr: float | None = None


@dataclass(frozen=True)
class Rows:
    """A file's rows."""

    path: Path
    sha256: str
    rows: tuple[Row, ...]


def read_relearn(path: Path | str) -> Rows:
    """Read and check a file of rows: JSONL, or whatever else its name's ending says (JSON, CSV, Parquet).

    Raises:
        DataError: it cannot be read, is empty, or has malformed lines; all of them are named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path} cannot be read: no such file", _HINT)
    problems: list[str] = []
    rows = [_row(raw, problems) for raw in raw_rows(path)]
    if not rows:
        problems.append(f"{path.name} has no row")
    if problems:
        raise DataError(problems, _HINT)
    return Rows(path, file_digest(path), tuple(row for row in rows if row is not None))


def _row(raw: Raw, problems: list[str]) -> Row | None:
    """The row, or None with what is wrong in `problems`."""
    wrong = list(raw.problems)
    if not wrong and not isinstance(raw.value, dict):
        wrong.append(f"is {_kind(raw.value)} — expected an object")
    if wrong:
        problems += [f"{raw.where} — {what}" for what in wrong]
        return None
    given = _renamed(raw.value, wrong)
    for key in _TEXTS:
        if key not in given:
            wrong.append(f"has no {key} — expected a text under {' or '.join(KEYS[key])}")
        elif not isinstance(given[key], str):
            wrong.append(f"{key} is {_kind(given[key])} — expected a text")
        elif key == "gold" and not given[key].strip():
            wrong.append("gold is empty — expected the right answer")
    entities = {key: _entities(key, given, wrong) for key in ("entities_gold", "entities_pred")}
    numbers = {key: _number(key, given, wrong) for key in _RANGES}
    label = given.get("nli")
    if label is not None and (not isinstance(label, str) or label.strip().lower() not in _LABELS):
        wrong.append(f"nli is {_kind(label)} — expected {', '.join(_LABELS)}")
    pairs = None if wrong else _pairs(numbers.pop("coverage"), numbers.pop("uncovered"), entities, wrong)
    if wrong:
        problems += [f"{raw.where} — {what}" for what in wrong]
        return None
    known: dict[str, Any] = {key: given[key] for key in _TEXTS} | entities | numbers
    known["nli"] = label.strip().lower() if label is not None else None
    return Row(**known, entity=str(given.get("entity") or ""), pairs=pairs)


def _renamed(value: Mapping[str, Any], wrong: list[str]) -> dict[str, Any]:
    """What is read of a row, under our names; null counts as absent."""
    lower: dict[str, Any] = {}
    for key, item in value.items():
        if item is not None:
            lower.setdefault(key.lower(), item)
    found = {}
    for key, names in KEYS.items():
        there = [name for name in names if name in lower]
        if len(there) > 1 and any(lower[name] != lower[there[0]] for name in there):
            wrong.append(f"{' and '.join(there)} disagree — expected one of them")
        if there:
            found[key] = lower[there[0]]
    return found


def _entities(key: str, given: Mapping[str, Any], wrong: list[str]) -> tuple[str, ...] | None:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        wrong.append(f"{key} is {_kind(value)} — expected a list of texts")
        return None
    return tuple(value)


def _number(key: str, given: Mapping[str, Any], wrong: list[str]) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    low, high, expected = _RANGES[key]
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not fine or not math.isfinite(value):
        wrong.append(f"{KEYS[key][0]} is {_kind(value)} — expected {expected}")
        return None
    return float(value)


def _pairs(
    coverage: float | None, uncovered: float | None, entities: Mapping[str, Sequence[str] | None], wrong: list[str]
) -> int | None:
    """How many pairs of entities are alike; None where the row does not say, or not of which entities."""
    gold, said = entities["entities_gold"], entities["entities_pred"]
    if coverage is None and uncovered is not None:
        coverage = 1 - uncovered
    if coverage is None or gold is None:
        return None
    pairs = coverage * len(gold)
    whole = round(pairs)
    if abs(pairs - whole) > 1e-6 * max(1.0, pairs) or (not gold and coverage):
        wrong.append(f"the coverage {coverage:g} is no count of pairs over {len(gold)} entities of the right answer")
    elif said is not None and whole > len(gold) * len(said):
        wrong.append(f"the coverage {coverage:g} needs {whole} pairs of {len(gold)} and {len(said)} entities")
    return whole


def _kind(value: Any) -> str:
    """What a value is, without quoting a text of the forget set."""
    if isinstance(value, (bool, int, float)):
        return show(value)
    names = {str: "another text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
