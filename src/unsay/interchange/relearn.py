"""Rows of ReLearn's evaluation → a run folder: KFR or KRR under every rule and matching, ROUGE-L, LS with its parts.

What the rows bring is used as it is, the rest is computed by the judges that runs use, and the note of each score says
which. All numbers come from the metrics `kfr`, `krr`, `linguistic-score` and `relearn-harmonic` themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import stats
from ..benchmarks import _suite
from ..data.example import Example
from ..errors import PlanError
from ..metrics._coverage import Matching
from ..metrics._shared import entities, join, left_out, mean_score
from ..metrics.have import EntityTable, Measurements, Verdict
from ..metrics.kfr import KFR
from ..metrics.krr import KRR
from ..metrics.linguistic_score import LinguisticScore, has_word, perplexities, richness
from ..metrics.linguistic_score import Row as Language
from ..metrics.relearn_harmonic import RelearnHarmonic
from ..metrics.rouge import Rouge, recall
from ..metrics.score import Metric, Score, metric_id, unscored
from ..runs.manifest import ModelRecord
from ..scoring import metric_row
from ._folder import Imported, choose, write
from .relearn_rows import Row, read_relearn

Split = Literal["forget", "retain"]
_RULES: Mapping[str, tuple[Any, ...]] = {"forget": ("paper", "strict", "code"), "retain": ("paper", "code")}
_MATCHINGS: tuple[Matching, ...] = ("one-to-one", "pairs")
_PARTS: Mapping[str, tuple[str, str]] = {
    "perplexity": ("ppl", "Perplexity of the predictions under the reading model (PPL); mean over rows."),
    "brunet": ("bi", "Brunet's index N^(V^−0.165) of the predictions (BI); lower is richer. Mean over rows."),
    "honore": ("hs", "Honoré's statistic of the predictions (HS); higher is richer. Mean over rows."),
    "root-ttr": ("rttr", "Types over the root of tokens of the predictions (RTTR). Mean over rows."),
}
"""What LS is made of → its column, and what it is."""
_CITE = "ReLearn, arXiv 2502.11190"
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Found:
    """What a file's rows come to."""

    examples: tuple[Example, ...]
    scores: Mapping[str, Score]
    about: Mapping[str, Any]
    notes: tuple[str, ...]


def import_relearn(
    file: Path | str,
    *,
    split: Split = "forget",
    out: Path | str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> Path:
    """Make a run folder of a model's rows.

    Args:
        file: The rows, see `relearn_rows`.
        split: Whether they were to be forgotten (KFR) or kept (KRR).
        out: Run folder; None is ``runs/import-<name of the file>``.
        overwrite: Replace an earlier import in that folder.
        command: What the user typed, for the report.

    Returns:
        The folder, with scores.json, samples.jsonl, report.html.

    Raises:
        PlanError: `split` is neither.
        DataError: the file cannot be read, or has malformed lines.
        RunError: the folder holds something else.
    """
    if split not in _RULES:
        raise PlanError(f"--split {split!r}: expected forget or retain", "--split forget")
    given = read_relearn(file)
    folder = choose(out, given.path.stem, overwrite)
    found = scored(given.rows, split)
    imported = Imported(
        given.path.stem,
        found.about,
        {"after": found.scores},
        {"after": ModelRecord(str(given.path), f"rows sha256:{given.sha256}")},
        {split: found.examples},
        {split: given.path.name},
        {"after": {e.id: row.pred for e, row in zip(found.examples, given.rows, strict=True)}},
        [f"imported rows, no model was measured here: {given.path}", *found.notes],
    )
    return write(folder, imported, command)


def scored(rows: Sequence[Row], split: Split) -> Found:
    """Every score of `rows`; judges are asked only for what the rows lack."""
    examples = tuple(
        Example(r.query, r.gold, id=f"{split}-{i}", meta={"entity": r.entity} if r.entity else {})
        for i, r in enumerate(rows)
    )
    by_id = {e.id: row for e, row in zip(examples, rows, strict=True)}
    asking = _Asking(examples, by_id)
    metrics: list[Metric] = []
    scores: dict[str, Score] = {}
    rouge = Rouge(split=split)
    scores[metric_id(rouge)] = _rouge(examples, by_id)
    for matching in _MATCHINGS:
        for rule in _RULES[split]:
            name = "-".join([*([rule] if (rule, matching) != ("paper", "one-to-one") else []), *_suffix(matching)])
            knowing = _knowing(split, rule, matching, name)
            both = RelearnHarmonic(
                split=split, aim=split, rule=rule, matching=matching, label=_label("relearn-harmonic", name)
            )
            have = asking.knowledge(knowing)
            scores[metric_id(knowing)] = knowledge = knowing.score(have)
            scores[metric_id(both)] = both.of(
                scores[metric_id(rouge)], knowledge, examples, have.remark(*knowing.needs)
            )
            metrics += [knowing, both]
    language = LinguisticScore(split=split)
    values, note = asking.language(language)
    scores[metric_id(language)] = language.of(values, examples, note) if values else unscored(note)
    scores |= {f"{part}@{split}": _part(values, i, examples, note) for i, part in enumerate(_PARTS)}
    metrics = [rouge, *metrics, language]
    order = [*map(metric_id, metrics), *(f"{part}@{split}" for part in _PARTS)]
    bare = [] if any(row.entity for row in rows) else ["no row has an entity: intervals take rows for independent"]
    return Found(examples, {i: scores[i] for i in order}, _about(metrics, split), (*dict.fromkeys(asking.notes), *bare))


class _Asking:
    """What the metrics need, from the rows where they have it and from judges where not."""

    def __init__(self, examples: Sequence[Example], rows: Mapping[str, Row]) -> None:
        self._examples, self._rows = examples, rows
        self._texts = {i: (row.pred,) for i, row in rows.items()}
        self._known: dict[Any, tuple[Mapping[str, Any], str]] = {}
        self._judges: Any = None
        self.notes: list[str] = []

    def knowledge(self, metric: KFR | KRR) -> Measurements:
        """Entities and verdicts for one matching."""
        similarity, inference = metric.needs
        answers: dict[Any, Any] = {}
        missing: dict[Any, str] = {}
        remarks: dict[Any, str] = {}
        for need, read in (
            (similarity, lambda: self._tables(similarity, metric.matching)),
            (inference, lambda: self._verdicts(inference)),
        ):
            key = (need, metric.matching if need is similarity else "")
            if key not in self._known:
                self._known[key] = read()
            found, said = self._known[key]
            if found:
                answers[need], remarks[need] = found, said
            else:
                missing[need] = said
        return Measurements({metric.split: self._examples}, answers, missing, remarks)

    def language(self, metric: LinguisticScore) -> tuple[dict[str, Language], str]:
        """PPL, BI, HS and RTTR of every row, and who read it; without a reader, why."""
        spoken = [i for i, row in self._rows.items() if has_word(row.pred)]
        stored = {i: ppl for i in spoken if (ppl := self._rows[i].ppl) is not None}
        note = "PPL as stored" if spoken else ""
        if len(stored) < len(spoken):  # numbers of two reading models are not comparable: all anew, or those there are
            said = self._ask(metric.needs[1], [e for e in self._examples if e.id in spoken])
            if said.answers is not None:
                stored, note = dict(perplexities(said.answers)), said.remark
            elif not stored:
                return {}, said.missing
            else:
                note = join(note, said.missing)
        values: dict[str, Language] = {}
        pairs = []
        for i, row in self._rows.items():
            if i in stored or i not in spoken:
                own, kept = richness([row.pred]), (row.bi, row.hs, row.rttr)
                bi, hs, rttr = (mine if theirs is None else theirs for mine, theirs in zip(own, kept, strict=True))
                values[i] = stored.get(i), bi, hs, rttr
                pairs.append((kept, own))
        self._compare("BI, HS or RTTR", pairs)
        return values, note

    def _tables(self, need: Any, matching: Matching) -> tuple[Mapping[str, Any], str]:
        if matching == "pairs" and (found := {i: (_stored(r),) for i, r in self._rows.items() if r.pairs is not None}):
            rest = [e for e in self._examples if e.id not in found]
            if not rest:
                return found, "entity coverage as stored"
            said = self._ask(need, rest)
            return {**found, **(said.answers or {})}, join("entity coverage as stored where it is", said.remark)
        said = self._ask(need, self._examples)
        named = [i for i, row in self._rows.items() if _named(row)]
        stored = (
            "" if not named else "entities as stored" + ("" if len(named) == len(self._rows) else " where they are")
        )
        return said.answers or {}, join(stored, said.remark or said.missing)

    def _verdicts(self, need: Any) -> tuple[Mapping[str, Any], str]:
        found = {i: (Verdict(**{**_NONE, row.nli: 1.0}),) for i, row in self._rows.items() if row.nli is not None}
        rest = [e for e in self._examples if e.id not in found]
        if not rest:
            return found, "NLI as stored"
        said = self._ask(need, rest)
        stored = f"NLI of {len(found)} of {len(self._rows)} rows as stored" if found else ""
        return {**found, **(said.answers or {})}, join(stored, said.remark or said.missing)

    def _ask(self, need: Any, examples: Sequence[Example]) -> Any:
        """What the judges of runs say; they are loaded only here."""
        if self._judges is None:
            from ..measure.collect import Collector
            from ..measure.judges import Judges
            from ..measure.token_stats import MICRO_TOKENS
            from ..runs.store import Store

            store = Store()
            self._judges = Judges(store, None, Collector(store, None, 1024, MICRO_TOKENS), 1024)
        named = {i: both for i, row in self._rows.items() if (both := _named(row))}
        said = self._judges.answer("after", need, examples, self._texts, "fp32", named)
        self.notes.append(f"computed here: {said.remark}" if said.remark else said.missing)
        return said

    def _compare(self, what: str, pairs: Sequence[tuple[Sequence[float | None], Sequence[float]]]) -> None:
        """Note where what the rows say is not what comes out here."""
        known = [(theirs, ours) for theirs, ours in pairs if all(x is not None for x in theirs)]
        other = sum(not np.allclose(np.array(t, float), o, rtol=_TOLERANCE, atol=_TOLERANCE) for t, o in known)
        if other:
            self.notes.append(f"stored {what} of {other} of {len(known)} rows differ from those of the predictions")


_NONE = {"entailment": 0.0, "neutral": 0.0, "contradiction": 0.0}


def _named(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Both lists of entities, where the row has both."""
    return None if row.entities_gold is None or row.entities_pred is None else (row.entities_gold, row.entities_pred)


def _stored(row: Row) -> EntityTable:
    """A table with as many alike pairs as the row says; which ones they are, it does not say."""
    gold, pairs = row.entities_gold or (), row.pairs or 0
    said = row.entities_pred if row.entities_pred is not None else ("?",) * -(-pairs // max(1, len(gold)))
    cosine = np.zeros(len(said) * len(gold), np.float32)
    cosine[:pairs] = 1.0
    return EntityTable(gold, said, cosine.reshape(len(said), len(gold)))


def _rouge(examples: Sequence[Example], rows: Mapping[str, Row]) -> Score:
    stored = {i: row.rouge for i, row in rows.items() if row.rouge is not None}
    values = {e.id: stored[e.id] if e.id in stored else recall(e.answer, rows[e.id].pred) for e in examples}
    note = "" if not stored else "as stored" if len(stored) == len(rows) else f"{len(stored)} rows as stored"
    return mean_score(values, examples, lacking="generation", note=note)


def _part(values: Mapping[str, Language], column: int, examples: Sequence[Example], note: str) -> Score:
    """One part of LS as a score of its own: the mean over rows."""
    own = {i: x for i, row in values.items() if (x := row[column]) is not None and np.isfinite(x)}
    if not own:
        return unscored(note or "no row has a generation with a word")
    found = stats.mean(own, entities(examples))
    said = join(note if column == 0 else "", left_out(own, examples, "generation with a word"), found.note)
    return Score(found.value, own, found.n, found.ci, said, found.clusters)


def _suffix(matching: Matching) -> list[str]:
    return ["pairs"] if matching == "pairs" else []


def _label(metric: str, name: str) -> str:
    """What a variant is called: the paper's rule, matched one to one, has the metric's own name."""
    return f"{metric}-{name}" if name else ""


def _knowing(split: Split, rule: Any, matching: Matching, name: str) -> KFR | KRR:
    if split == "forget":
        return KFR(split=split, rule=rule, matching=matching, label=_label("kfr", name))
    return KRR(split=split, rule=rule, matching=matching, label=_label("krr", name))


def _about(metrics: Sequence[Metric], split: Split) -> dict[str, Any]:
    rows = []
    for metric in metrics:
        plain = replace(metric, label="")  # type: ignore[type-var]
        (wanted,) = _suite.directions([plain], forget="down").values()
        row = metric_row(metric, wanted)
        if isinstance(metric, (KFR, KRR, RelearnHarmonic)):
            pairs = "every alike pair counts" if metric.matching == "pairs" else "entities matched one to one"
            row["summary"] = f"{row['summary']} Rule: {metric.rule}; {pairs}."
        rows.append(row)
    parts = [
        {
            "id": f"{part}@{split}",
            "title": part.replace("-", " "),
            "split": split,
            "wanted": None,
            "kind": "fluency",
            "summary": summary,
        }
        for part, (_, summary) in _PARTS.items()
    ]
    rates = [metric_id(metric) for metric in metrics if isinstance(metric, (KFR, KRR))]
    headline = [*rates, *(f"{name}@{split}" for name in ("rouge", "relearn-harmonic", "linguistic-score"))]
    return {"name": "relearn rows", "cite": _CITE, "headline": headline, "metrics": [*rows, *parts]}
