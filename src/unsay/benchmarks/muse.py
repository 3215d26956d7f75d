"""News articles or the Harry Potter books that a model was trained on, unlearned as plain text (MUSE).

What is measured of MUSE's six criteria: verbatim memory (continue a passage), knowledge memory (answer questions about
it, ten shown first), privacy leakage (forget texts against texts never trained on), and utility (questions about the
texts to keep). Scalability and sustainability choose what is forgotten: ``chain=scal step=k`` the first k folds at
once, ``chain=sust step=k`` fold k alone, from the model that step k − 1 left (`model=` its folder).

Files are those of the hub (``muse-bench/MUSE-News``, ``muse-bench/MUSE-Books``, CC BY 4.0), or the same below `path`
(``raw/forget.jsonl``, ``knowmem/forget_qa.json``, …; also Parquet). The *before* model is
``muse-bench/MUSE-News_target`` or ``MUSE-Books_target``, the retrained one ``…_retrain``: base models, so
``model.template=plain``.

Splits: forget, retain and holdout (100 texts each, for privacy), forget-verbmem, forget-knowmem, retain-knowmem, world.

Paper: MUSE (Shi et al. 2024, arXiv:2407.06460): ROUGE-L F1 of 128 new tokens (verbatim) and 32 (knowledge), PrivLeak
with Min-40 %.
Differs: training texts are cut at `words` words instead of 2,048 tokens. MUSE cuts the right continuation to 128
tokens, here it is cut to 96 words. Token probabilities, exact memorisation, world facts and fluency are added. Texts
for privacy are scored up to the evaluator's 1,024 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..metrics.exact_memorization import ExactMemorization
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.model_utility import ModelUtility
from ..metrics.privleak import Privleak
from ..metrics.probability import Probability
from ..metrics.rouge_f1 import RougeF1
from ..metrics.score import Metric
from ..metrics.zlib_ratio import ZlibRatio
from . import _bundled, _suite
from ._benchmark import Wanted
from ._tables import Row, distinct, find_folder, read_table, text_rows

_EVALUATED = {
    "knowmem/forget_qa": 100,
    "knowmem/forget_qa_icl": 10,
    "knowmem/retain_qa": 100,
    "knowmem/retain_qa_icl": 10,
    "verbmem/forget": 100,
    "privleak/forget": 100,
    "privleak/retain": 100,
    "privleak/holdout": 100,
}
COUNTS: Mapping[str, Mapping[str, int]] = {
    "news": {
        **_EVALUATED,
        "raw/forget": 889,
        "raw/retain1": 1777,
        **{f"scal/forget_{k}": n for k, n in enumerate((889, 1778, 2667, 3554), 1)},
        **{f"sust/forget_{k}": n for k, n in enumerate((889, 889, 889, 887), 1)},
    },
    "books": {**_EVALUATED, "raw/forget": 4, "raw/retain1": 12},
}
"""Rows of every file, by corpus."""
_FIELDS = {"knowmem": ("question", "answer"), "verbmem": ("prompt", "gt")}
_HUB = {"news": "muse-bench/MUSE-News", "books": "muse-bench/MUSE-Books"}
_STOP = ("\n\n", "\nQuestion", "Question:")
"""Where MUSE ends an answer: a base model goes on to ask the next question."""
_VERBATIM_TOKENS, _VERBATIM_WORDS, _ANSWER_TOKENS = 128, 96, 32
_GONE = ("forget", "forget-verbmem", "forget-knowmem")


@dataclass(frozen=True, kw_only=True)
class Muse:
    """The `muse` benchmark."""

    corpus: Literal["news", "books"] = "news"
    """BBC articles, or the Harry Potter books."""
    chain: Literal["none", "scal", "sust"] = "none"
    """none: MUSE's forget set; scal: the first `step` folds together; sust: fold `step` alone. News only."""
    step: int = 1
    """1 to 4; without a chain always 1."""
    path: str | None = None
    """Folder with raw/, knowmem/, verbmem/, privleak/; None is $UNSAY_DATA/muse-news or muse-books, else the hub."""
    words: int = 512
    """Words of one training row (a word is about 1⅓ tokens)."""

    cite: ClassVar[str] = "MUSE, arXiv 2407.06460"

    def __post_init__(self) -> None:
        if self.chain != "none" and self.corpus != "news":
            raise PlanError(f"chain={self.chain} exists for corpus=news only", "benchmark.corpus=news")
        last = 1 if self.chain == "none" else 4
        if not 1 <= self.step <= last:
            raise PlanError(
                f"step is {self.step}, expected 1 to {last} with chain={self.chain}", "benchmark.chain=scal"
            )
        if self.words < 1:
            raise PlanError(f"words is {self.words}, expected at least 1", "benchmark.words=512")

    def data(self) -> ForgetData:
        """Forget: the texts of the step. Retain: retain1, the texts that MUSE regularises with."""
        forget, retain = self._texts()
        return ForgetData(forget=forget, retain=retain)

    def taught(self) -> Sequence[Example]:
        """Nothing: the *before* model is the published target."""
        return ()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """Texts for privacy, passages to continue, questions with ten answered ones before them, world facts."""
        return {
            "forget": self._privacy("forget"),
            "retain": self._privacy("retain"),
            "holdout": self._privacy("holdout"),
            "forget-verbmem": tuple(
                Example(row["prompt"], row["gt"], id=f"verbmem.{i}", meta={"source": "muse/verbmem"})
                for i, row in enumerate(self._table("verbmem/forget"), 1)
            ),
            "forget-knowmem": self._questions("forget"),
            "retain-knowmem": self._questions("retain"),
            "world": _bundled.world(),
        }

    def metrics(self) -> tuple[Metric, ...]:
        """MUSE's C1 to C4, token probabilities beside them, world facts, fluency."""
        return (
            RougeF1(split="forget-verbmem", max_new_tokens=_VERBATIM_TOKENS, answer_words=_VERBATIM_WORDS),
            RougeF1(split="forget-knowmem", max_new_tokens=_ANSWER_TOKENS, stop=_STOP),
            *(Probability(split=split) for split in _GONE),
            ExactMemorization(split="forget"),
            Privleak(),
            LossAttack(),
            ZlibRatio(),
            MinK(k=0.4),
            MinKPp(k=0.4),
            RougeF1(split="retain-knowmem", max_new_tokens=_ANSWER_TOKENS, stop=_STOP),
            *(Probability(split=split) for split in ("retain", "retain-knowmem")),
            *_suite.knowledge("world", _ANSWER_TOKENS),
            ModelUtility(
                splits=("retain-knowmem", "world"),
                choices=("world",),
                parts=("probability", "rouge"),
                max_new_tokens=_ANSWER_TOKENS,
            ),
            *_suite.fluency("forget-verbmem", _VERBATIM_TOKENS),
            *_suite.fluency("retain-knowmem", _ANSWER_TOKENS),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Like the retrained model on what was forgotten; everything else high."""
        return _suite.directions(self.metrics(), forget="match", forget_splits=_GONE)

    def headline(self) -> tuple[str, ...]:
        """Verbatim and knowledge memory, privacy, utility, fluency."""
        return (
            "rouge-f1@forget-verbmem",
            "rouge-f1@forget-knowmem",
            "probability@forget",
            "privleak@forget",
            "min-k@forget",
            "rouge-f1@retain-knowmem",
            "model-utility",
            "fluency@retain-knowmem",
        )

    def _texts(self) -> tuple[list[Example], list[Example]]:
        stem = "raw/forget" if self.chain == "none" else f"{self.chain}/forget_{self.step}"
        forget = text_rows(self._table(stem), stem.replace("/", "."), self.words)
        retain = text_rows(self._table("raw/retain1"), "raw.retain1", self.words)
        return forget, distinct(retain, forget)

    def _privacy(self, name: str) -> tuple[Example, ...]:
        rows = self._table(f"privleak/{name}")
        return tuple(
            Example("", row["text"], id=f"privleak.{name}.{i}", meta={"source": f"muse/privleak/{name}"})
            for i, row in enumerate(rows, 1)
        )

    def _questions(self, name: str) -> tuple[Example, ...]:
        shown = "".join(
            f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in self._table(f"knowmem/{name}_qa_icl")
        )
        return tuple(
            Example(
                f"{shown}Question: {row['question']}\nAnswer:",
                row["answer"],
                id=f"knowmem.{name}.{i}",
                meta={"source": f"muse/knowmem/{name}_qa"},
            )
            for i, row in enumerate(self._table(f"knowmem/{name}_qa"), 1)
        )

    def _table(self, stem: str) -> tuple[Row, ...]:
        folder = find_folder(f"muse-{self.corpus}", self.path, _hint(self.corpus))
        return _read(folder, self.corpus, stem)


def _hint(corpus: str) -> str:
    return (
        f"hf download --repo-type dataset {_HUB[corpus]} --local-dir FOLDER, then benchmark.path=FOLDER "
        f"(or UNSAY_DATA=the folder above muse-{corpus})"
    )


@lru_cache(maxsize=64)
def _read(folder: Path | None, corpus: str, stem: str) -> tuple[Row, ...]:
    config = stem.partition("/")[0]
    return tuple(
        read_table(
            folder,
            stem,
            hub=f"{_HUB[corpus]}:{stem}",
            fields=_FIELDS.get(config, ("text",)),
            hint=_hint(corpus),
            rows=COUNTS[corpus][stem],
        )
    )
