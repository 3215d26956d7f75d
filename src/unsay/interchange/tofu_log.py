"""TOFU's ``eval_log_aggregated.json`` → a run folder with scores, samples and a report.

The losses are the log's, the aggregation is that of our metrics, which agree with TOFU's own script: probability, truth
ratio, forget quality against a second log, model utility. ROUGE-L recall is taken row by row as logged.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import stats
from ..benchmarks import _suite
from ..benchmarks.tofu import Tofu
from ..data.example import Example
from ..errors import DataError
from ..metrics._shared import entities, join, mean_score
from ..metrics.forget_quality import ForgetQuality
from ..metrics.have import AnswerStats, Measurements, Tokens
from ..metrics.model_utility import ModelUtility
from ..metrics.needs import Need, TokenStats
from ..metrics.probability import Probability
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, Score, metric_id, unscored
from ..metrics.truth_ratio import TruthRatio
from ..runs.manifest import ModelRecord
from ..scoring import metric_row
from ._folder import Imported, choose, write

SECTIONS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real-authors": "eval_real_author_wo_options.json",
    "world-facts": "eval_real_world_wo_options.json",
}
"""Split → what TOFU calls it inside the log."""
_OPTIONS = ("real-authors", "world-facts")
_AUTHOR = 20
"""Questions of one author, in order, in the forget and retain rows."""
_SCALARS = ("avg_gt_loss", "avg_paraphrased_loss", "rougeL_recall")
_LISTS = ("average_perturb_loss",)
_TEXTS = "generated_text"
_HINT = "give TOFU's eval_log_aggregated.json, or the same file with gzip"
_METRICS: tuple[Metric, ...] = (
    Probability(split="forget"),
    Rouge(split="forget"),
    TruthRatio(split="forget", aggregate="forget"),
    ForgetQuality(),
    Probability(split="retain"),
    Rouge(split="retain"),
    TruthRatio(split="retain", aggregate="utility"),
    *(
        metric
        for split in _OPTIONS
        for metric in (
            Probability(split=split, choices=True),
            Rouge(split=split),
            TruthRatio(split=split, aggregate="utility"),
        )
    ),
    ModelUtility(),
)
_HEADLINE = ("forget-quality@forget", "model-utility", "probability@forget", "rouge@forget", "truth-ratio@forget")


@dataclass(frozen=True)
class Log:
    """One model's log, checked."""

    path: Path
    sha256: str
    splits: Mapping[str, Mapping[str, Mapping[int, Any]]]
    """Split → column → row number → what was logged; splits that the log lacks are absent."""

    def rows(self, split: str) -> tuple[Example, ...]:
        """The rows of a split as far as the log tells: question and right answer, if texts were logged."""
        columns = self.splits.get(split, {})
        texts = columns.get(_TEXTS, {})
        found = []
        for i in columns.get(_SCALARS[0], {}):
            asked, _, gold = texts.get(i, ("", "", ""))
            meta = {"entity": f"{split} author {i // _AUTHOR + 1}"} if split in ("forget", "retain") else {}
            found.append(Example(asked, gold, id=f"{split}-{i}", meta=meta))
        return tuple(found)


def read_log(path: Path | str) -> Log:
    """Read and check one log.

    Raises:
        DataError: there is no such file, it is no JSON (or gzip of it), or not what TOFU writes; with every problem.
    """
    path = Path(path).expanduser()
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        content = json.loads(data.decode("utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", _HINT) from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}", "download it again") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", _HINT) from None
    known = ", ".join(SECTIONS.values())
    if not isinstance(content, dict) or not any(name in content for name in SECTIONS.values()):
        raise DataError(f"{path} is no TOFU log: it has none of {known}", _HINT)
    problems: list[str] = []
    splits = {
        split: found
        for split, name in SECTIONS.items()
        if name in content and (found := _section(content[name], f"{path}: {name}", problems))
    }
    if problems:
        raise DataError(problems, _HINT)
    return Log(path, hashlib.sha256(raw).hexdigest(), splits)


def scores(log: Log, retrained: Log | None = None) -> dict[str, Score]:
    """Metric id → score of one log's model. What the log does not tell is unscored, with the reason."""
    have = _measurements(log, retrained)
    found: dict[str, Score] = {}
    for metric in _METRICS:
        split = getattr(metric, "split", "")
        if split and split not in log.splits:
            found[metric_id(metric)] = unscored(f"{log.path.name} has no {SECTIONS[split]}")
        elif isinstance(metric, Rouge):
            found[metric_id(metric)] = _rouge(log, split)
        elif not isinstance(metric, ModelUtility):
            found[metric_id(metric)] = metric.score(have)
    found["model-utility"] = _utility(log, found)
    return {metric_id(metric): found[metric_id(metric)] for metric in _METRICS}


def import_tofu_log(
    file: Path | str,
    *,
    retrained: Path | str | None = None,
    before: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> Path:
    """Make a run folder of one TOFU log (and those of the models it is compared with).

    Args:
        file: Log of the unlearned model.
        retrained: Log of a model trained without the forget rows, for forget quality.
        before: Log of the model before unlearning.
        out: Run folder; None is ``runs/import-<name of the file>``.
        overwrite: Replace an earlier import in that folder.
        command: What the user typed, for the report.

    Returns:
        The folder, with scores.json, samples.jsonl, report.html.

    Raises:
        DataError: a log is malformed, or the logs are about different rows.
        RunError: the folder holds something else.
    """
    given = {"before": before, "after": file, "retrained": retrained}
    logs = {tag: read_log(path) for tag, path in given.items() if path is not None}
    _same_rows(logs)
    name = Path(file).name.removesuffix(".gz").removesuffix(".json")
    folder = choose(out, name, overwrite)
    files = ", ".join(f"{tag} {log.path}" for tag, log in logs.items())
    found = Imported(
        name,
        _about(),
        {tag: scores(log, logs.get("retrained")) for tag, log in logs.items()},
        {tag: ModelRecord(str(log.path), f"log sha256:{log.sha256}") for tag, log in logs.items()},
        {split: logs["after"].rows(split) for split in SECTIONS if split in logs["after"].splits},
        SECTIONS,
        {tag: _answers_of(log) for tag, log in logs.items()},
        [
            f"imported from TOFU's logs, nothing was measured here: {files}",
            "intervals of forget and retain take every 20 questions in order for one author, as TOFU's files have them",
        ],
    )
    return write(folder, found, command)


def _section(given: Any, where: str, problems: list[str]) -> dict[str, dict[int, Any]]:
    """The columns of one section by row number, in order; what is wrong goes to `problems`."""
    if not isinstance(given, dict):
        problems.append(f"{where} is not a table of columns")
        return {}
    columns: dict[str, dict[int, Any]] = {}
    for name in (*_SCALARS, *_LISTS, _TEXTS):
        if name not in given:
            if name != _TEXTS:  # TOFU logs them, but no number needs them
                problems.append(f"{where} has no {name}")
            continue
        column = given[name]
        if not isinstance(column, dict) or not column or not all(key.isdecimal() for key in column):
            problems.append(f"{where}: {name} is not a table of values by row number")
            continue
        right = {name in _SCALARS: _is_number, name in _LISTS: _are_numbers, name == _TEXTS: _are_texts}[True]
        wrong = [key for key, value in column.items() if not right(value)]
        if wrong:
            what = "a finite number" if name in _SCALARS else "finite numbers" if name in _LISTS else "three texts"
            problems.append(f"{where}: {name} of row {wrong[0]} is not {what} ({len(wrong)} such rows)")
            continue
        columns[name] = {int(key): column[key] for key in sorted(column, key=int)}
    counts = {name: tuple(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {len(rows)}" for name, rows in counts.items())
        problems.append(f"{where}: the columns have different rows ({shown})")
    return columns


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(text, str) for text in value)


def _answers(losses: Iterable[float]) -> tuple[AnswerStats, ...]:
    """Answers with these mean losses: one token each, in the log's own precision."""
    found = []
    for loss in losses:
        logp: Any = np.array([-loss], np.float64)
        found.append(AnswerStats(logp, np.zeros(1, np.int32), logp, logp))
    return tuple(found)


def _measurements(log: Log, retrained: Log | None) -> Measurements:
    splits = {split: log.rows(split) for split in log.splits}
    answers: dict[Need, Tokens] = {}
    missing: dict[Need, str] = {}
    for model, source in (("subject", log), ("retrained", retrained)):
        for split in SECTIONS:
            needs = {
                "avg_gt_loss": TokenStats(split, model=model),
                "average_perturb_loss": TokenStats(split, answer="perturbed", model=model),
                "avg_paraphrased_loss": TokenStats(split, answer="paraphrased", model=model),
            }
            for name, need in needs.items():
                if source is None:
                    missing[need] = "needs the log of a retrained model: --retrained FILE"
                elif split not in source.splits:
                    missing[need] = f"{source.path.name} has no {SECTIONS[split]}"
                else:
                    column = source.splits[split][name]
                    answers[need] = {
                        f"{split}-{i}": _answers(x if isinstance(x, list) else [x]) for i, x in column.items()
                    }
    return Measurements(splits, answers, missing)  # type: ignore[arg-type]


def _rouge(log: Log, split: str) -> Score:
    values = {f"{split}-{i}": float(x) for i, x in log.splits[split]["rougeL_recall"].items()}
    return mean_score(values, log.rows(split), lacking="ROUGE", note="as logged")


def _utility(log: Log, found: Mapping[str, Score]) -> Score:
    """Harmonic mean of the nine parts, as `ModelUtility` computes it from measurements."""
    metric = ModelUtility()
    parts = {split: {part: found[f"{part}@{split}"] for part in metric.parts} for split in metric.splits}
    for split, of in parts.items():
        if reason := next((score.note for score in of.values() if not score.scored), ""):
            return unscored(f"{split}: {reason}")
    groups = {split: [score.per_example for score in of.values()] for split, of in parts.items()}
    made = stats.harmonic_mean(groups, entities(*(log.rows(split) for split in parts)))
    extra = {f"{split}/{part}": score.value for split, of in parts.items() for part, score in of.items()}
    return Score(made.value, {}, made.n, made.ci, join(made.note, "ROUGE as logged"), made.clusters, extra)


def _same_rows(logs: Mapping[str, Log]) -> None:
    """Logs are compared row by row, so they must be about the same ones.

    Raises:
        DataError: row numbers or questions differ.
    """
    first = logs["after"]
    problems = []
    for log in logs.values():
        for split in first.splits.keys() & log.splits.keys():
            one, other = first.rows(split), log.rows(split)
            if len(one) != len(other):
                problems.append(f"{log.path} has {len(other)} rows of {split}, {first.path} has {len(one)}")
            elif changed := [
                a.id
                for a, b in zip(one, other, strict=True)
                if (a.id, a.question, a.answer) != (b.id, b.question, b.answer)
            ]:
                where = f"{changed[0]} is the first of {len(changed)}"
                problems.append(f"{log.path} asks other questions of {split} than {first.path}: {where}")
    if problems:
        raise DataError(problems, "give logs of the same evaluation: the retrained model of forget10 is retain90")


def _about() -> dict[str, Any]:
    wanted = _suite.directions(_METRICS, forget="match")
    metrics = [metric_row(metric, wanted.get(metric_id(metric))) for metric in _METRICS]
    return {"name": "tofu", "cite": Tofu.cite, "headline": list(_HEADLINE), "metrics": metrics}


def _answers_of(log: Log) -> dict[str, str]:
    """What the model said, by example id."""
    return {
        f"{split}-{i}": said
        for split, columns in log.splits.items()
        for i, (_, said, _) in columns.get(_TEXTS, {}).items()
    }
