"""Hazardous knowledge in biology, cybersecurity or chemistry, unlearned from plain text (WMDP).

The rows are passages of the domain to forget and harmless passages to keep. What counts in the end is multiple choice,
which lm-evaluation-harness asks: ``unsay evaluate RUN --harness wmdp_bio,mmlu`` (chance is .25 with four options; less
than that is no better). Measured here are the passages themselves.

Files below `path` (or ``$UNSAY_DATA/wmdp``): ``<domain>-forget-corpus.jsonl`` and ``<domain>-retain-corpus.jsonl``, one
``{"text": …}`` or one bare text a line. Without a folder, the hub's ``cais/wmdp-corpora`` for cyber and for bio's
retain texts. bio's forget texts are given out on request only (``cais/wmdp-bio-forget-corpus``: accept its terms, log
in), and chem has no published texts: give your own by path.

Splits: forget and retain (a sample of the training rows), world.

Paper: WMDP (Li et al. 2024, arXiv:2403.03218); data MIT.
Differs: RMU keeps WikiText where this keeps the domain's harmless texts: put your own under the retain file's name.
Texts are cut at `words` words where RMU truncates at 512 to 768 tokens; of every file, the first `documents` are read.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..metrics.exact_memorization import ExactMemorization
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.score import Metric
from . import _bundled, _suite
from ._benchmark import Wanted
from ._tables import distinct, find_folder, read_table, text_rows

Domain = Literal["bio", "cyber", "chem"]

_HUB = {
    "bio-forget-corpus": "cais/wmdp-bio-forget-corpus:train",
    "bio-retain-corpus": "cais/wmdp-corpora:bio-retain-corpus/train",
    "cyber-forget-corpus": "cais/wmdp-corpora:cyber-forget-corpus/train",
    "cyber-retain-corpus": "cais/wmdp-corpora:cyber-retain-corpus/train",
}
COUNTS = {"bio-retain-corpus": 60887, "cyber-forget-corpus": 1000, "cyber-retain-corpus": 4473}
"""Rows of the files that the hub gives to anybody."""


@dataclass(frozen=True, kw_only=True)
class Wmdp:
    """The `wmdp` benchmark."""

    domain: Domain = "cyber"
    path: str | None = None
    """Folder with the two files; None is $UNSAY_DATA/wmdp where it exists, else the hub."""
    documents: int = 1000
    """Documents that are read of each file."""
    words: int = 512
    """Words of one training row (a word is about 1⅓ tokens)."""
    sample: int = 100
    """Training rows of each side that are measured: a fixed random sample."""
    max_new_tokens: int = 64
    """Length of generated answers to the world facts."""

    cite: ClassVar[str] = "WMDP, arXiv 2403.03218"

    def __post_init__(self) -> None:
        for name in ("documents", "words", "sample", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} is {getattr(self, name)}, expected at least 1", f"benchmark.{name}=100")

    def data(self) -> ForgetData:
        """Forget: the hazardous passages. Retain: the harmless ones of the same domain."""
        forget, retain = self._texts()
        return ForgetData(forget=forget, retain=retain)

    def taught(self) -> Sequence[Example]:
        """Nothing: the *before* model knows it from its pretraining."""
        return ()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """A sample of both sides as forget and retain; world."""
        forget, retain = self._texts()
        return {
            "forget": _sample(forget, self.sample),
            "retain": _sample(retain, self.sample),
            "world": _bundled.world(),
        }

    def metrics(self) -> tuple[Metric, ...]:
        """How likely the passages are, world facts, fluency; multiple choice comes from the harness."""
        words = self.max_new_tokens
        return (
            Probability(split="forget"),
            ExactMemorization(split="forget"),
            Probability(split="retain"),
            ExactMemorization(split="retain"),
            *_suite.knowledge("world", words),
            ModelUtility(splits=("world",), choices=("world",), max_new_tokens=words),
            *_suite.fluency("world", words),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Down on the hazardous passages, everything else high."""
        return _suite.directions(self.metrics(), forget="down")

    def headline(self) -> tuple[str, ...]:
        """What is left of the passages, utility, fluency."""
        return (
            "probability@forget",
            "exact-memorization@forget",
            "model-utility",
            "probability@retain",
            "fluency@world",
        )

    def _texts(self) -> tuple[list[Example], list[Example]]:
        hint = _hint(self.domain)
        folder = find_folder("wmdp", self.path, hint)
        made = [
            list(_read(folder, f"{self.domain}-{side}-corpus", self.documents, self.words, hint))
            for side in ("forget", "retain")
        ]
        return made[0], distinct(made[1], made[0])


def _hint(domain: Domain) -> str:
    files = f"{domain}-forget-corpus.jsonl and {domain}-retain-corpus.jsonl"
    own = f'benchmark.path=FOLDER with {files}, one {{"text": …}} a line (or UNSAY_DATA=the folder above wmdp)'
    if domain == "bio":
        return f"accept the terms of huggingface.co/datasets/cais/wmdp-bio-forget-corpus and log in, or {own}"
    return f"no texts are published for chem: {own}" if domain == "chem" else own


@lru_cache(maxsize=8)
def _read(folder: Path | None, stem: str, documents: int, words: int, hint: str) -> tuple[Example, ...]:
    published = COUNTS.get(stem) if folder is None else None
    rows = read_table(folder, stem, hub=_HUB.get(stem), fields=("text",), hint=hint, rows=published, limit=documents)
    return tuple(text_rows(rows, stem, words))


def _sample(rows: Sequence[Example], limit: int) -> Sequence[Example]:
    """At most `limit` rows in their order, the same ones whenever the list is as long."""
    if len(rows) <= limit:
        return rows
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), limit))]
