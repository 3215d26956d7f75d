"""Twenty real people to forget, twenty others to keep, answered by the model itself ("A Closer Look").

The training rows are 400 questions with the answers that Llama-3-8B-Instruct itself gave; measured are the same
questions with short right answers, paraphrases and wrong answers, and 400 questions about people who were neither
forgotten nor trained on. Files below `path` (or ``$UNSAY_DATA/closer-look``): forget.json, neighbor.json,
forget_perturbed.json, neighbor_perturbed.json, as in data/real_world of github.com/sail-sg/closer-look-LLM-unlearning;
the people are some of RETURN's (arXiv:2407.10058).

Splits: forget, retain (neighbours that no method saw), world.

Paper: Yuan et al. 2024, arXiv:2410.08109: ROUGE-L recall, probability, truth ratio, token entropy, cosine similarity
and entailment of the right short answer (`golden_answer`), as forgetting effect and utility; downstream tasks through
the harness: arc_challenge, mmlu, truthfulqa_mc1, triviaqa, gsm8k.
Differs: cosine similarity is to the short answer, where the paper takes the long one for real people. Exact
memorisation, extraction strength, reworded questions, world facts and fluency are added. It generates up to a total
length of 200 tokens, here `max_new_tokens` counts the answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from ..data.example import Example, ForgetData
from ..errors import DataError, PlanError
from ..metrics.closer_look_utility import CloserLookUtility
from ..metrics.forgetting_effect import ForgettingEffect
from ..metrics.model_utility import ModelUtility
from ..metrics.score import Metric
from ..metrics.truth_ratio import TruthRatio
from . import _bundled, _suite
from ._benchmark import Wanted
from ._tables import Row, distinct, find_folder, read_table

COUNTS = {"forget": 400, "neighbor": 400, "forget_perturbed": 400, "neighbor_perturbed": 400}
_HINT = (
    "git clone https://github.com/sail-sg/closer-look-LLM-unlearning, then "
    "benchmark.path=closer-look-LLM-unlearning/data/real_world (or UNSAY_DATA=the folder above closer-look)"
)


@dataclass(frozen=True, kw_only=True)
class CloserLook:
    """The `closer-look` benchmark."""

    path: str | None = None
    """Folder with the four files; None is $UNSAY_DATA/closer-look."""
    people: tuple[str, ...] = ()
    """Whom to forget, by name as in the files; empty is all twenty."""
    max_new_tokens: int = 128
    """Length of generated answers."""

    cite: ClassVar[str] = "A Closer Look at Machine Unlearning for LLMs, arXiv 2410.08109"

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise PlanError(
                f"max_new_tokens is {self.max_new_tokens}, expected at least 1", "benchmark.max_new_tokens=128"
            )

    def data(self) -> ForgetData:
        """Forget: the questions with the model's own answers. Retain: the neighbours' likewise."""
        forget = [_asked(row, "answer") for row in self._chosen("forget")]
        retain = [_asked(row, "answer") for row in self._table("neighbor")]
        forget = distinct(forget)
        return ForgetData(forget=forget, retain=distinct(retain, forget))

    def taught(self) -> Sequence[Example]:
        """Nothing: the *before* model knows them from its pretraining."""
        return ()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """forget, retain (other people than those trained on), world."""
        return {
            "forget": distinct(_asked(row, "golden_answer") for row in self._chosen("forget_perturbed")),
            "retain": distinct(_asked(row, "golden_answer") for row in self._table("neighbor_perturbed")),
            "world": _bundled.world(),
        }

    def metrics(self) -> tuple[Metric, ...]:
        """The paper's two numbers and their parts, memorisation, rewordings, world facts, fluency."""
        words = self.max_new_tokens
        return (
            ForgettingEffect(max_new_tokens=words),
            CloserLookUtility(choices=(), max_new_tokens=words),
            *_suite.memory("forget", words),
            *_suite.reworded("forget"),
            TruthRatio(split="forget", aggregate="forget"),
            *_suite.memory("retain", words),
            TruthRatio(split="retain", aggregate="utility"),
            *_suite.knowledge("world", words),
            ModelUtility(splits=("retain", "world"), choices=("world",), max_new_tokens=words),
            *_suite.fluency("forget", words),
            *_suite.fluency("retain", words),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Down on the people to forget (nobody has a model that never read of them), everything else high."""
        return _suite.directions(self.metrics(), forget="down")

    def headline(self) -> tuple[str, ...]:
        """What is left of the forget answers, utility, fluency."""
        return (
            "rouge@forget",
            "forgetting-effect@forget",
            "probability@forget",
            "closer-look-utility",
            "model-utility",
            "rouge@retain",
            "fluency@forget",
            "fluency@retain",
        )

    def _chosen(self, stem: str) -> list[Row]:
        """The rows about `people`.

        Raises:
            DataError: the file does not have one of them.
        """
        rows = self._table(stem)
        known = list(dict.fromkeys(str(row["name"]) for row in rows))
        lost = [name for name in self.people if name not in known]
        if lost:
            raise DataError([f"{stem} has nobody called {name!r}" for name in lost], f"one of {', '.join(known)}")
        return [row for row in rows if not self.people or row["name"] in self.people]

    def _table(self, stem: str) -> tuple[Row, ...]:
        return _read(find_folder("closer-look", self.path, _HINT), stem)


@lru_cache(maxsize=16)
def _read(folder: Path | None, stem: str) -> tuple[Row, ...]:
    worded = stem.endswith("_perturbed")
    fields = (
        "name",
        "question",
        "golden_answer",
        *(("paraphrased_answer", "paraphrased_question") if worded else ("answer",)),
    )
    rows = read_table(folder, stem, hub=None, fields=fields, hint=_HINT, rows=COUNTS[stem])
    bad = [i for i, row in enumerate(rows, 1) if worded and not _texts(row.get("perturbed_answer"))]
    if bad:
        raise DataError(f"{stem}: {len(bad)} rows have no perturbed_answer (row {bad[0]})", _HINT)
    return tuple(rows)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str) and text) if isinstance(value, (list, tuple)) else ()


def _asked(row: Row, answer: str) -> Example:
    others = {key: _texts([row[f"{key}_answer"]]) for key in ("paraphrased",) if row.get(f"{key}_answer")}
    if _texts(row.get("perturbed_answer")):
        others["perturbed"] = _texts(row["perturbed_answer"])
    if row.get("paraphrased_question"):
        others["paraphrased_question"] = _texts([row["paraphrased_question"]])
    return Example(
        row["question"], row[answer], alternatives=others, meta={"entity": row["name"], "source": "closer-look"}
    )
