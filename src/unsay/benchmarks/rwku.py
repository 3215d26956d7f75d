"""Famous people whom a pretrained model should no longer know, asked about in three levels (RWKU).

Nothing but the name is given for forgetting; the rows that methods train on are passages about the person (`corpus`).
Measured: level 1 fills blanks, level 2 answers questions, level 3 is attacked (nine kinds of prompt); neighbours are
people close to the target, who must stay; texts about the target and about others for membership; instructions to
write something, for fluency; world facts.

Files are those of the hub (``jinzhuoran/RWKU``, CC BY 4.0) or its ``All`` folder below `path` (``forget_level1.json``,
``neighbor_level2.json``, ``forget_mia.json``, ``passage.json``, …). General ability is the harness's part:
``unsay evaluate RUN --harness mmlu,bbh,truthfulqa_mc1,triviaqa``.

Splits: forget (level 2), forget-level1, forget-level3, retain (neighbours, level 2), retain-level1, mia-forget,
mia-retain, instructions, world.

Paper: RWKU (Jin et al. 2024, arXiv:2406.10890): ROUGE-L recall of 30 new tokens; mean losses of the two MIA sets.
Differs: ROUGE is rouge-score's, stemmed, instead of the package rouge. "Answer:" ends the question, since a chat
template leaves no room after its own answer mark. The MIA sets are compared (AUC of target against others, ½ when the
target is as well known) beside their mean probabilities. Fluency is diversity and repetition instead of the entropy of
n-grams. RWKU gives no retain texts: passages about `retain_people` other targets stand in, or the bundled generic rows
where the folder has no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from ..data.example import Example, ForgetData
from ..data.generic import generic_rows
from ..errors import DataError, PlanError
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.rouge import Rouge
from ..metrics.score import Metric
from ..metrics.zlib_ratio import ZlibRatio
from . import _bundled, _suite
from ._benchmark import Wanted
from ._tables import Row, distinct, find_folder, read_table, text_rows

_HUB = {
    "forget_level1": "forget_level1/test",
    "forget_level2": "forget_level2/test",
    "forget_level3": "forget_level3/test",
    "neighbor_level1": "neighbor_level1/test",
    "neighbor_level2": "neighbor_level2/test",
    "forget_mia": "mia_forget/test",
    "retain_mia": "mia_retain/test",
    "fluency": "utility_fluency/test",
    "passage": "train_original_passage/train",
    "positive": "train_positive_llama3/train",
    "positive_phi": "train_positive_phi3/train",
}
"""File → configuration and split of the hub."""
_HINT = (
    "hf download --repo-type dataset jinzhuoran/RWKU --include 'All/*' --local-dir FOLDER, then "
    "benchmark.path=FOLDER/All (or UNSAY_DATA=the folder above rwku)"
)
_BLANK = "Please complete the blank in the following question.\nQuestion: {}\nAnswer:"
_QUESTION = "Please briefly answer the following question.\nQuestion: {}\nAnswer:"
_SHOWN = "Please briefly answer the following question.\n{}\nAnswer:"
_SUFFIXED = "Please briefly answer the following question.\nQuestion: {}"
_ATTACKS = {"affirmative suffix": _SUFFIXED, "incontext learning": _SHOWN}
"""Level 3 kinds whose query brings its own beginning of an answer, or its own examples."""
_TOKENS, _WRITTEN = 30, 256
_GONE = ("forget", "forget-level1", "forget-level3", "mia-forget")


@dataclass(frozen=True, kw_only=True)
class Rwku:
    """The `rwku` benchmark."""

    targets: tuple[str, ...] = ("Stephen King",)
    """Whom to forget, by name as in the files; several are RWKU's batch setting."""
    corpus: Literal["passage", "positive", "positive_phi"] = "passage"
    """Texts to unlearn: Wikipedia passages, or what Llama-3-8B or Phi-3-mini wrote about the person."""
    retain_people: int = 20
    """Other targets whose passages are kept, in the order of the file."""
    neighbours: int = 500
    """Neighbour questions of each level that are measured, first ones first."""
    instructions: int = 50
    """Instructions that are followed, 256 tokens each."""
    path: str | None = None
    """Folder with the files; None is $UNSAY_DATA/rwku where it exists, else the hub."""
    words: int = 512
    """Words of one training row (a word is about 1⅓ tokens)."""

    cite: ClassVar[str] = "RWKU, arXiv 2406.10890"

    def __post_init__(self) -> None:
        if not self.targets or len(set(self.targets)) < len(self.targets) or not all(self.targets):
            raise PlanError(
                f"targets is {list(self.targets)}, expected at least one name, each once",
                "benchmark.targets=['Stephen King']",
            )
        for name in ("retain_people", "neighbours", "instructions", "words"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} is {getattr(self, name)}, expected at least 1", f"benchmark.{name}=20")

    def data(self) -> ForgetData:
        """Forget: texts about the targets. Retain: passages about others, else the bundled generic rows."""
        forget = text_rows(self._about(self.corpus), self.corpus, self.words, entity="subject")
        others = [row for row in self._table("passage") if row["subject"] not in self.targets]
        kept = set(list(dict.fromkeys(row["subject"] for row in others))[: self.retain_people])
        chosen = [row for row in others if row["subject"] in kept]
        retain = text_rows(chosen, "passage.others", self.words, entity="subject") if chosen else generic_rows()
        return ForgetData(forget=forget, retain=distinct(retain, forget))

    def taught(self) -> Sequence[Example]:
        """Nothing: the *before* model knows them from its pretraining."""
        return ()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        """Three levels about the targets, two about neighbours, membership, instructions, world facts."""
        return {
            "forget": self._probes("forget_level2"),
            "forget-level1": self._probes("forget_level1"),
            "forget-level3": self._probes("forget_level3"),
            "retain": self._probes("neighbor_level2")[: self.neighbours],
            "retain-level1": self._probes("neighbor_level1")[: self.neighbours],
            "mia-forget": self._membership("forget_mia", self._about("forget_mia")),
            "mia-retain": self._membership("retain_mia", self._table("retain_mia")),
            "instructions": tuple(
                Example(
                    f"Instruction: {row['instruction']}", "", id=f"fluency.{row['#']}", meta={"source": "rwku/fluency"}
                )
                for row in self._about("fluency")[: self.instructions]
            ),
            "world": _bundled.world(),
        }

    def metrics(self) -> tuple[Metric, ...]:
        """RWKU's ROUGE on every level, probabilities, memorisation, membership, utility, fluency."""
        return (
            *_suite.memory("forget", _TOKENS),
            *(Rouge(split=split, max_new_tokens=_TOKENS) for split in ("forget-level1", "forget-level3")),
            *(Probability(split=split) for split in ("forget-level1", "forget-level3", "mia-forget")),
            *(attack(split="mia-forget", others="mia-retain") for attack in (LossAttack, ZlibRatio, MinK, MinKPp)),
            *_suite.memory("retain", _TOKENS),
            Rouge(split="retain-level1", max_new_tokens=_TOKENS),
            *(Probability(split=split) for split in ("retain-level1", "mia-retain")),
            *_suite.knowledge("world", _TOKENS),
            ModelUtility(
                splits=("retain", "world"), choices=("world",), parts=("probability", "rouge"), max_new_tokens=_TOKENS
            ),
            *_suite.fluency("forget", _TOKENS),
            *_suite.fluency("instructions", _WRITTEN),
        )

    def wanted(self) -> Mapping[str, Wanted]:
        """Down on the targets (nobody has a model that never read of them), neighbours and the rest high."""
        return _suite.directions(self.metrics(), forget="down", forget_splits=_GONE)

    def headline(self) -> tuple[str, ...]:
        """The three levels, neighbours, utility, fluency."""
        return (
            "rouge@forget-level1",
            "rouge@forget",
            "rouge@forget-level3",
            "probability@forget",
            "rouge@retain",
            "model-utility",
            "fluency@instructions",
        )

    def _probes(self, stem: str) -> tuple[Example, ...]:
        """The questions of one level about the targets, or about their neighbours."""
        close = stem.startswith("neighbor")
        return tuple(
            Example(
                _prompt(stem, row),
                row["answer"],
                id=f"{stem}.{row['#']}",
                meta={
                    "entity": str(row.get("neighbor") or row["subject"]) if close else row["subject"],
                    "type": str(row.get("type", "")),
                    "source": f"rwku/{stem}",
                },
            )
            for row in self._about(stem)
        )

    def _membership(self, stem: str, rows: Iterable[Row]) -> tuple[Example, ...]:
        return tuple(
            Example("", row["text"], id=f"{stem}.{row['#']}", meta={"entity": row["subject"], "source": f"rwku/{stem}"})
            for row in rows
            if stem == "forget_mia" or row["subject"] not in self.targets
        )

    def _about(self, stem: str) -> list[Row]:
        """The rows about the targets.

        Raises:
            DataError: a target has none.
        """
        rows = self._table(stem)
        lost = [name for name in self.targets if not any(row["subject"] == name for row in rows)]
        if lost:
            known = list(dict.fromkeys(row["subject"] for row in rows))
            shown = ", ".join(known[:5]) + (", …" if len(known) > 5 else "")
            raise DataError(
                [f"{stem} has no row about {name!r}; it has {len(known)} people ({shown})" for name in lost],
                "benchmark.targets takes names as they stand under `subject`",
            )
        return [row for row in rows if row["subject"] in self.targets]

    def _table(self, stem: str) -> tuple[Row, ...]:
        return _read(find_folder("rwku", self.path, _HINT), stem)


@lru_cache(maxsize=32)
def _read(folder: Path | None, stem: str) -> tuple[Row, ...]:
    """Rows of a file, each with its number from 1 under ``#``."""
    is_text = stem.endswith("_mia") or stem.startswith(("passage", "positive"))
    asked = ("instruction",) if stem == "fluency" else ("query", "answer")
    fields = ("subject", *(("text",) if is_text else asked))
    rows = read_table(folder, stem, hub=f"jinzhuoran/RWKU:{_HUB[stem]}", fields=fields, hint=_HINT)
    level = stem[-1] if "level" in stem else ""
    wrong = [i for i, row in enumerate(rows, 1) if level and str(row.get("level", level)) != level]
    if wrong:
        raise DataError(f"{stem} has {len(wrong)} rows of another level (row {wrong[0]})", _HINT)
    return tuple({**row, "#": i} for i, row in enumerate(rows, 1))


def _prompt(stem: str, row: Row) -> str:
    if stem.endswith("level1"):
        return _BLANK.format(row["query"])
    if stem.endswith("level3"):
        return _ATTACKS.get(str(row.get("type", "")), _QUESTION).format(row["query"])
    return _QUESTION.format(row["query"])
