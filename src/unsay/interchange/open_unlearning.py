"""An open-unlearning evaluation → a run folder with scores, samples and a report.

The values are the evaluation's own; the intervals are computed here from its per-index values wherever these give the
value: means, AUCs, PrivLeak against the retrained model's AUC, the harmonic mean of model utility.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import registry, stats
from ..benchmarks import _suite
from ..data.example import Example
from ..errors import DataError, UnsayError
from ..metrics._shared import Floats, join
from ..metrics.rouge import Rouge
from ..metrics.rouge_f1 import RougeF1
from ..metrics.score import Metric, Score, metric_id, unscored
from ..metrics.truth_ratio import TruthRatio
from ..report.folder import TAGS
from ..runs.manifest import ModelRecord
from ..scoring import metric_row
from ._folder import Imported, choose, write
from ._ou_names import KNOWN, UTILITY, Known, known, split_of
from .export_open_unlearning import AGGREGATE
from .ou_files import Entry, Evaluation, Fields, find, read_evaluation

_CITE = "open-unlearning, arXiv 2506.12618"
_CLUSTERS = "clusters are unknown: the files do not say which rows belong together, intervals take them one by one"
_HEADLINE = (
    *("forget_quality", "forget_Q_A_Prob", "forget_truth_ratio", "extraction_strength", "forget_verbmem_ROUGE"),
    *("forget_knowmem_ROUGE", "privleak", "model_utility", "retain_Q_A_Prob", "retain_knowmem_ROUGE"),
)
_SMALL = 1e-10
"""What open-unlearning adds to divisors."""
_ROUGES: Mapping[str, Callable[[str], Metric]] = {
    "rougeL_recall": lambda split: Rouge(split=split),
    "rougeL_f1": lambda split: RougeF1(split=split),
}


def import_open_unlearning(
    path: Path | str,
    *,
    before: Path | str | None = None,
    retrained: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> Path:
    """Make a run folder of one evaluation (and those it is compared with).

    Args:
        path: Folder of the unlearned model's evaluation, or a folder with such folders called before, after, retrained.
        before: That of the model before unlearning.
        retrained: That of the model trained without the forget rows; forget quality needs it unless it is given.
        out: Run folder; None is ``runs/import-<name of the folder>``.
        overwrite: Replace an earlier import in that folder.
        command: What the user typed, for the report.

    Returns:
        The folder, with scores.json, samples.jsonl, report.html.

    Raises:
        DataError: the files are malformed, or are about different rows.
        RunError: the folder holds something else.
    """
    found = find(path)
    for tag, other in (("before", before), ("retrained", retrained)):
        if other is not None:
            found[tag] = find(other)["after"]
    by_tag: dict[str, Evaluation] = {tag: read_evaluation(found[tag]) for tag in TAGS if tag in found}
    _same_rows(by_tag)
    name = Path(path).expanduser().resolve().name.removesuffix(".json")
    folder = choose(out, name, overwrite)
    scores = {tag: scored(own, by_tag.get("retrained")) for tag, own in by_tag.items()}
    who = _who(by_tag.values())
    shown = ", ".join(f"{tag} {own.path}" for tag, own in by_tag.items())
    imported = Imported(
        name,
        _about(by_tag, scores),
        scores,
        {tag: ModelRecord(str(own.path), f"evaluation {own.fingerprint}") for tag, own in by_tag.items()},
        rows_of(by_tag.values(), who),
        {},
        {tag: _said(own) for tag, own in by_tag.items()},
        [
            f"imported from open-unlearning, no model was measured here: {shown}",
            *([] if who else [_CLUSTERS]),
            *(f"{tag}: {note}" for tag, own in by_tag.items() for note in own.notes),
        ],
    )
    return write(folder, imported, command)


def scored(own: Evaluation, retrained: Evaluation | None = None) -> dict[str, Score]:
    """Metric id → score of one model: ours where the definition is the same, under its own name otherwise."""
    found: dict[str, Score] = {}
    who = _who([own])
    for name, entry in own.entries.items():
        metric, score = _one(name, entry, who)
        found[metric] = score
    for name in ("forget_quality", "privleak", "model_utility"):
        ours = KNOWN[name]
        at = next((n for n in own.entries if known(n) is ours), name)
        entry = own.entries.get(at, Entry(None, {}, {}))
        made = {"forget_quality": _quality, "privleak": _privleak, "model_utility": _utility}[name]
        score = made(entry, own, retrained, who)
        if at in own.entries or score.scored:
            found[ours.id] = score
    return found


def _one(name: str, entry: Entry, who: Mapping[str, str]) -> tuple[str, Score]:
    """Our id (or the name there), and the score."""
    ours, split = known(name), split_of(name)
    if entry.summary:
        return ours.id if ours else name, _bare(entry, "from the summary alone: no rows, no interval")
    if {"forget", "holdout"} <= entry.rows.keys():
        return ours.id if ours else name, _auc(entry, ours, who)
    rows = entry.rows.get("", {})
    if not rows:
        return ours.id if ours else name, _bare(entry, "no per-index values, no interval")
    shape = ours.metric if ours else None
    field, values = _values(entry, rows, ours, shape)
    per_example = {f"{split}-{i}": v for i, v in values.items()}
    if isinstance(shape, (Rouge, RougeF1)):  # the settings there choose the kind of ROUGE, the rows show it
        name_here = metric_id(_ROUGES[field](split)) if field in _ROUGES else name
    else:
        name_here = ours.id if ours and field else name
    note = ours.differs if ours and name_here != name else ""
    return name_here, _mean(entry, per_example, who, note, matched=bool(field), unit=ours is not None or "@" in name)


def _values(
    entry: Entry, rows: Mapping[str, Fields], ours: Known | None, shape: Metric | None
) -> tuple[str, dict[str, float]]:
    """The field (and its values by index) whose mean is the entry's value; ("", the likeliest field's) when none is."""
    fields = list(dict.fromkeys(f for row in rows.values() for f in row))
    first = [f for f in (ours.field if ours else "", "prob", "score", "rougeL_recall", "rougeL_f1") if f in fields]
    order = list(dict.fromkeys([*first, *fields]))
    readings: list[Callable[[float], float]] = [float]
    if isinstance(shape, TruthRatio):
        readings = [_folded if shape.aggregate == "forget" else _knowing, float]
    for field in order:
        for reading in readings if field != AGGREGATE else [float]:
            values = {i: reading(row[field]) for i, row in rows.items() if field in row}
            if not all(map(math.isfinite, values.values())):
                continue
            if entry.value is None or _close(sum(values.values()) / len(values), entry.value):
                return field, values
    return "", {i: row[order[0]] for i, row in rows.items() if order and math.isfinite(row.get(order[0], math.nan))}


def _mean(
    entry: Entry, values: Mapping[str, float], who: Mapping[str, str], note: str, *, matched: bool, unit: bool
) -> Score:
    if not matched or not values:
        score = _bare(entry, "the value is not the mean of the per-index values: no interval")
        return Score(score.value, dict(values), len(values), None, score.note)
    inside = unit and all(0 <= v <= 1 for v in values.values())
    made = stats.mean(values, who, bounds=(0.0, 1.0) if inside else None)
    value = made.value if entry.value is None else entry.value
    said = "" if entry.value is not None else "no aggregate in the file: the mean of its rows"
    return Score(value, dict(values), made.n, made.ci, join(note, said, made.note), made.clusters)


def _signals(entry: Entry) -> tuple[dict[str, float], dict[str, float]]:
    """How much each member and non-member looks like training data: higher means member, as everywhere here."""
    parts = []
    for split in ("forget", "holdout"):
        rows = entry.rows.get(split, {})
        values = {f"{split}-{i}": -row.get("score", math.nan) for i, row in rows.items()}
        parts.append({i: v for i, v in values.items() if math.isfinite(v)})
    return parts[0], parts[1]


def _auc(entry: Entry, ours: Known | None, who: Mapping[str, str]) -> Score:
    members, others = _signals(entry)
    if not members or not others:
        return _bare(entry, "no per-index values, no interval")
    made = stats.auc(members, others, who)
    value = made.value if entry.value is None else entry.value
    extra = {"two_sided": abs(value - 0.5), "members": float(len(members)), "others": float(len(others))}
    if not _close(made.value, value):
        note = "the value is not the AUC of the per-index values: no interval"
        return Score(value, {**others, **members}, made.n, None, note, 0, extra)
    note = join(ours.differs if ours else "", made.note)
    return Score(value, {**others, **members}, made.n, made.ci, note, made.clusters, extra)


def _quality(entry: Entry, own: Evaluation, retrained: Evaluation | None, who: Mapping[str, str]) -> Score:
    """As given; where it is not given, the KS test against the retrained evaluation's truth ratios."""
    ratios = [_ratios(model) if model else {} for model in (own, retrained)]
    if entry.value is None and not all(ratios):
        return unscored(entry.note or "not computed there; give the retrained model's evaluation: --retrained DIR")
    if not all(ratios):
        return Score(_number(entry), {}, len(ratios[0]), None, "as given")
    distance, p = stats.ks(*(list(of.values()) for of in ratios))
    extra = {"ks": distance, "n_retrained": float(len(ratios[1]))}
    values = {f"forget-{i}": math.log(r) for i, r in ratios[0].items() if r > 0}
    if entry.value is None:
        return Score(p, values, len(ratios[0]), None, "computed here from both models' truth ratios", 0, extra)
    if not math.isclose(p, entry.value, rel_tol=1e-3, abs_tol=1e-12):
        return Score(_number(entry), values, len(ratios[0]), None, "as given, against another retrained model")
    return Score(entry.value, values, len(ratios[0]), None, "", 0, extra)


def _ratios(model: Evaluation) -> dict[str, float]:
    """R of the forget rows, as far as the rows hold R itself and not what is made of it."""
    for name, entry in model.entries.items():
        if known(name) is KNOWN["forget_truth_ratio"] and entry.value is not None:
            found = {i: row["score"] for i, row in entry.rows.get("", {}).items() if "score" in row}
            made = [_folded(r) for r in found.values()]
            return found if made and _close(float(np.mean(made)), entry.value) else {}
    return {}


def _privleak(entry: Entry, own: Evaluation, retrained: Evaluation | None, who: Mapping[str, str]) -> Score:
    """As given; with an interval where it is the one against the retrained evaluation's Min-K% AUC."""
    if entry.value is None:
        return unscored(entry.note or "not computed there")
    models = [model for model in (own, retrained) if model and "mia_min_k" in model.entries]
    pairs = [_signals(model.entries["mia_min_k"]) for model in models]
    if len(pairs) == 2 and all(all(pair) for pair in pairs):
        made = stats.auc_pair(pairs[0], pairs[1], who, _percent)
        if math.isfinite(made.value) and _close(made.value, entry.value, 1e-4):
            return Score(entry.value, {}, made.n, made.ci, made.note, made.clusters)
    return Score(_number(entry), {}, 0, None, "as given; no interval without the retrained model's mia_min_k rows")


def _utility(entry: Entry, own: Evaluation, retrained: Evaluation | None, who: Mapping[str, str]) -> Score:
    """As given; with an interval where it is the harmonic mean of the nine parts."""
    if entry.value is None:
        return unscored(entry.note or "not computed there")
    by_id = {known(name): _one(name, part, who)[1] for name, part in own.entries.items() if known(name)}
    parts = {split: [by_id.get(KNOWN[name]) for name in names] for split, names in UTILITY.items()}
    flat = [part for of in parts.values() for part in of]
    if all(part is not None and part.ci is not None for part in flat):
        groups = {split: [part.per_example for part in of if part] for split, of in parts.items()}
        made = stats.harmonic_mean(groups, who)
        if _close(made.value, entry.value):
            names = (name for of in UTILITY.values() for name in of)
            extra = {KNOWN[name].id: part.value for name, part in zip(names, flat, strict=True) if part}
            return Score(entry.value, {}, made.n, made.ci, made.note, made.clusters, extra)
    return Score(_number(entry), {}, 0, None, "as given; not the harmonic mean of nine parts with rows: no interval")


def _folded(ratio: float) -> float:
    """What the truth ratio of a row to forget counts: min(R, 1/R)."""
    return min(ratio, 1 / (ratio + _SMALL))


def _knowing(ratio: float) -> float:
    """What the truth ratio of a row to keep counts: max(0, 1 − R)."""
    return max(0.0, 1 - ratio)


def _percent(auc: Floats, retrained: Floats) -> Floats:
    """PrivLeak of two AUCs in which 1 means that members are found."""
    return 100 * (retrained - auc) / (1 - retrained)


def _bare(entry: Entry, note: str) -> Score:
    """A value without rows."""
    if entry.value is None:
        return unscored(entry.note or "not computed there")
    if not math.isfinite(entry.value):
        return unscored("the file has no finite number")
    return Score(entry.value, note=note)


def _number(entry: Entry) -> float:
    return entry.value if entry.value is not None and math.isfinite(entry.value) else math.nan


def _close(one: float, other: float, tolerance: float = 1e-5) -> bool:
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-6)


def rows_of(evaluations: Iterable[Evaluation], who: Mapping[str, str]) -> dict[str, list[Example]]:
    """Every row of every metric, by split, with its texts where a generation was logged."""
    texts: dict[tuple[str, str], tuple[str, str, str]] = {}
    seen: dict[tuple[str, str], None] = {}
    for own in evaluations:
        for name, entry in own.entries.items():
            split = split_of(name)
            for part, rows in entry.rows.items():
                seen |= dict.fromkeys((part or split, i) for i in rows)
            for i, of in entry.texts.items():
                texts.setdefault((split, i), of)
    found: dict[str, list[Example]] = {}
    for split, i in sorted(seen, key=lambda at: (at[0], int(at[1]) if at[1].isdecimal() else math.inf, at[1])):
        asked, gold, _ = texts.get((split, i), ("", "", ""))
        name = f"{split}-{i}"
        found.setdefault(split, []).append(Example(asked, gold, id=name, meta={"entity": who.get(name, "")}))
    return found


def _who(evaluations: Iterable[Evaluation]) -> dict[str, str]:
    """Entity by example id, as far as the files name any."""
    return {
        f"{part or split_of(name)}-{i}": entity
        for own in evaluations
        for name, entry in own.entries.items()
        for part, of in entry.entities.items()
        for i, entity in of.items()
    }


def _said(own: Evaluation) -> dict[str, str]:
    return {
        f"{split_of(name)}-{i}": texts[2] for name, entry in own.entries.items() for i, texts in entry.texts.items()
    }


def _same_rows(by_tag: Mapping[str, Evaluation]) -> None:
    """Models are compared row by row, so their evaluations must be about the same ones.

    Raises:
        DataError: other indices, or other right answers.
    """
    first = by_tag["after"]
    problems = []
    for own in (e for tag, e in by_tag.items() if tag != "after"):
        for name in first.entries.keys() & own.entries.keys():
            one, other = first.entries[name], own.entries[name]
            if one.rows.get("", {}).keys() != other.rows.get("", {}).keys() and one.rows and other.rows:
                count, counted = len(other.rows.get("", {})), len(one.rows.get("", {}))
                problems.append(f"{own.path} has {count} rows of {name}, {first.path} has {counted} or others")
            elif changed := [i for i in one.texts.keys() & other.texts.keys() if one.texts[i][1] != other.texts[i][1]]:
                problems.append(f"{own.path}: {name} of row {min(changed)} has another right answer than {first.path}")
    if problems:
        raise DataError(
            sorted(problems), "give evaluations of the same split: the retrained model of forget10 is retain90"
        )


def _about(by_tag: Mapping[str, Evaluation], scores: Mapping[str, Mapping[str, Score]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for by in scores.values() for name in by))
    metrics = {ours.id: ours.metric for ours in KNOWN.values()}
    rows = []
    for name in names:
        metric = metrics.get(name) or _ours(name)
        if metric is not None:
            (wanted,) = _suite.directions([metric], forget="match", forget_splits=_gone(metric)).values()
            rows.append(metric_row(metric, wanted))
        else:
            kind = "privacy" if name.startswith("mia_") else "other"
            rows.append({"id": name, "title": name, "split": "", "wanted": None, "kind": kind, "summary": _CITE})
    headline = [KNOWN[name].id for name in _HEADLINE if KNOWN[name].id in names]
    return {"name": by_tag["after"].name, "cite": _CITE, "headline": headline, "metrics": rows}


def _gone(metric: Metric) -> tuple[str, ...]:
    split = getattr(metric, "split", "")
    return (split,) if split.startswith("forget") else ("forget",)


def _ours(name: str) -> Metric | None:
    """A metric of ours by its id: an export keeps the names that open-unlearning has none for."""
    base, _, split = name.partition("@")
    if not split or base not in registry.names("metrics"):
        return None
    try:
        return registry.load("metrics", base)(split=split)
    except (UnsayError, TypeError):
        return None
