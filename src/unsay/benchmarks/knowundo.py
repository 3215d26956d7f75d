"""Fictional authors of whom the private half is to be forgotten and the public half kept (KnowUnDo, privacy).

Parents, e-mail and address of 55 authors (the paper says 60) are forgotten, name, genre, birthplace and awards kept.
The training questions are unlearned (400, beside 441 to keep); what is measured are other questions about the same
things (110 and 108), so that a model which has learned to avoid a wording gains nothing. From a folder (`path`, or
``$UNSAY_DATA/knowundo``), otherwise from the hub (``zjunlp/KnowUnDo``). The *before* model has learned all 1,059 rows;
the retrained one none of the private questions, measured ones included.

Splits: forget and retain (the measured questions), forget-train (what was unlearned, word for word), world; with
questions=train forget-val, too (the private questions that are not measured).

Paper: KnowUnDo (Tian et al. 2024, arXiv:2407.01920), MIT; as ReLearn uses it (Xu et al. 2025, arXiv:2502.11190).
KFR, KRR and LS are ReLearn's; KnowUnDo's own unlearn and retention success are 1 − exact memorisation on forget and
exact memorisation on retain.
Differs: rows carry the author that their question names, so that intervals are clustered. One training question reads
otherwise in full.json (a typo); the training file's wording is taught. The copyright part is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..data.example import Example, ForgetData
from ..data.read_hub import hub_rows
from ..errors import DataError, PlanError
from ..metrics.exact_memorization import ExactMemorization
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.kfr import KFR
from ..metrics.krr import KRR
from ..metrics.linguistic_score import LinguisticScore
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.score import Metric, metric_id
from . import _bundled, _suite
from ._benchmark import Wanted
from ._tables import Row, find_folder, read_table

COUNTS = {"unlearn_train": 400, "unlearn_val": 110, "retention_train": 441, "retention_val": 108}
HUB = "zjunlp/KnowUnDo"
_HINT = (
    "benchmark.path=FOLDER with unlearn_train.json, unlearn_val.json, retention_train.json and retention_val.json "
    "(dataset/KnowUnDo/privacy of github.com/zjunlp/unlearn), or UNSAY_DATA=the folder above knowundo/privacy"
)
_OFTEN = 8
"""Questions in which a name must occur to be an author's; no other name does."""
_ASKING = re.compile(r"Wh\w+|How|Has|Have|Is|Are|Was|Were|Does|Did|Do|Can|Could|In")
_NAME = re.compile(r"[A-ZÀ-Þ][^\W_]*(?:['’-][A-ZÀ-Þa-z][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class Knowundo:
    """The `knowundo` benchmark."""

    path: str | None = None
    """Folder with the files; None is $UNSAY_DATA/knowundo where it exists, else the hub."""
    max_new_tokens: int = 128
    """Length of generated answers; the measured ones have 28 words."""
    questions: Literal["val", "train"] = "val"
    """Which questions are measured: other wordings, or as many of those that are unlearned and kept word for word, to
    tune settings on without looking at the measured ones."""
    reader: str | None = "smollm2-135m"
    """Reading model of the linguistic score (ReLearn's is Llama-2-7B-chat): it reads every answer once, which costs
    more than all the rest where the model under test is smaller. None leaves the score out."""

    cite: ClassVar[str] = "KnowUnDo, arXiv 2407.01920; as in ReLearn, arXiv 2502.11190"

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise PlanError(
                f"max_new_tokens is {self.max_new_tokens}, expected at least 1", "benchmark.max_new_tokens=128"
            )

    def data(self) -> ForgetData:
        """Forget: the private training questions. Retain: the public ones."""
        files = self._files()
        return ForgetData(forget=files["unlearn_train"], retain=files["retention_train"])

    def taught(self) -> Sequence[Example]:
        """All 1,059 rows, the measured questions included, as ReLearn's vanilla model."""
        return [row for rows in self._files().values() for row in rows]

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """The measured questions as forget and retain, forget-train (what was unlearned), world.

        With questions=train ``forget-val`` stands there, too, so that all private questions are in a split whose name
        begins with forget: nothing measures it, but a retrained model must not have learned it either.
        """
        files = self._files()
        forget, retain = files["unlearn_val"], files["retention_val"]
        found = {"forget": forget, "retain": retain, "forget-train": files["unlearn_train"], "world": _bundled.world()}
        if self.questions == "train":
            found["forget"] = _spread(files["unlearn_train"], len(forget))
            found["retain"] = _spread(files["retention_train"], len(retain))
            found["forget-val"] = forget
        return found

    def metrics(self) -> tuple[Metric, ...]:
        """ReLearn's rates, memory of both halves, of the unlearned wordings by one forward, world facts, fluency."""
        words = self.max_new_tokens
        return (
            KFR(max_new_tokens=words),
            KRR(max_new_tokens=words),
            *_suite.memory("forget", words),
            Probability(split="forget-train"),
            ExactMemorization(split="forget-train"),
            ExtractionStrength(split="forget-train"),
            *_suite.row_by_row(),
            *_suite.memory("retain", words),
            *_suite.knowledge("world", words),
            ModelUtility(
                splits=("retain", "world"), choices=("world",), parts=("probability", "rouge"), max_new_tokens=words
            ),
            *_suite.fluency("forget", words),
            *_suite.fluency("retain", words),
            *_suite.wording(words),
            *self._readings(),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Like the retrained model on what is private; everything else high."""
        return _suite.directions(self.metrics(), forget="match", forget_splits=("forget", "forget-train"))

    def headline(self) -> tuple[str, ...]:
        """ReLearn's rates and scores, what is left of the private answers, utility, fluency."""
        return (
            "rouge@forget",
            "kfr@forget",
            "probability@forget",
            "krr@retain",
            "rouge@retain",
            "model-utility",
            *map(metric_id, self._readings()),
            "fluency@retain",
        )

    def _readings(self) -> tuple[Metric, ...]:
        if self.reader is None:
            return ()
        words = self.max_new_tokens
        return tuple(
            LinguisticScore(split=split, judge=self.reader, max_new_tokens=words) for split in ("forget", "retain")
        )

    def _files(self) -> Mapping[str, tuple[Example, ...]]:
        folder = find_folder("knowundo", self.path, _HINT)
        if folder is not None and (folder / "privacy").is_dir():
            folder = folder / "privacy"
        return _read(folder)


def _spread(rows: Sequence[Example], count: int) -> tuple[Example, ...]:
    """`count` rows, evenly over the file."""
    return tuple(rows[i * len(rows) // count] for i in range(count))


@lru_cache(maxsize=8)
def _read(folder: Path | None) -> Mapping[str, tuple[Example, ...]]:
    raw = _hub() if folder is None else {name: _table(folder, name) for name in COUNTS}
    problems = [
        f"{name} has {len(rows)} rows, expected {COUNTS[name]}"
        for name, rows in raw.items()
        if len(rows) != COUNTS[name]
    ]
    asked = Counter(row["text"] for rows in raw.values() for row in rows)
    twice = sum(n > 1 for n in asked.values())
    if twice:
        problems.append(f"{twice} questions occur in more than one row, expected each once")
    if problems:
        raise DataError(problems, _HINT)
    authors = _authors(asked)
    return {name: tuple(_example(row, authors, name) for row in rows) for name, rows in raw.items()}


def _table(folder: Path, name: str) -> list[Row]:
    return read_table(folder, name, hub=None, fields=("text", "labels"), hint=_HINT)


def _hub() -> dict[str, list[Row]]:
    """The hub's two tables: one record each, with the lists ``train`` and ``val``."""
    found: dict[str, list[Row]] = {}
    try:
        for split in ("unlearn", "retention"):
            record = next(iter(hub_rows(f"{HUB}:privacy/{split}"))).value
            for part in ("train", "val"):
                found[f"{split}_{part}"] = _rows(record.get(part))
    except DataError as error:
        raise DataError(error.problems, _HINT) from error
    return found


def _rows(value: Any) -> list[Row]:
    """A list of records, whichever way `datasets` lays it out."""
    if isinstance(value, Mapping):
        value = [{"text": q, "labels": a} for q, a in zip(value.get("text", ()), value.get("labels", ()), strict=False)]
    rows = [row for row in value or () if isinstance(row, Mapping)]
    return [row for row in rows if isinstance(row.get("text"), str) and isinstance(row.get("labels"), str)]


def _authors(questions: Iterable[str]) -> tuple[str, ...]:
    """Names of two or three words that many questions hold, longest first."""
    counts: Counter[str] = Counter()
    for question in questions:
        counts.update(_names(question))
    return tuple(sorted((name for name, n in counts.items() if n >= _OFTEN), key=lambda n: (-len(n), n)))


def _names(text: str) -> set[str]:
    """Every run of two or three capitalised words, possessives taken off."""
    words = [w.strip(',.?!"“”()').removesuffix("'s").removesuffix("’s") for w in text.split()]
    found = set()
    for size in (2, 3):
        for at in range(len(words) - size + 1):
            run = words[at : at + size]
            if not _ASKING.fullmatch(run[0]) and all(_NAME.fullmatch(w) for w in run):
                found.add(" ".join(run))
    return found


def _example(row: Row, authors: Sequence[str], name: str) -> Example:
    made = Example(row["text"], row["labels"], meta={"source": f"knowundo/{name}"})
    about = next((a for text in (made.question, made.answer) for a in authors if a in text), "")
    return replace(made, meta={**made.meta, "entity": about}) if about else made
