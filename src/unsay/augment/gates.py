"""Which written questions and answers may be trained on. Every rejection has a gate's name, and is counted by it.

G1 nothing of the answer in its words · G2 nor in its entities · G3 about the question · G4 nothing new named · G5 a
fluent sentence · G6 unlike its neighbours · G7 a question like the original. G8 to G10 look at the whole: `audit`.

Paper    the checks are ours, after the defects of the pipeline that ReLearn (arXiv:2502.11190) published, whose only
         check is a language model's yes or no about the answer text
Limits   Rules over words, made for English: they see what is said, not what it means. What is said in other words
         passes, unless its entities give it away.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from ..data.entities import akin, content_words, entities, plain_words
from ..data.example import Example
from ..errors import PlanError
from ..writers._gate import refuses
from ..writers._questions import ENDS
from ..writers._spans import spans
from ..writers._subject import subject
from ..writers._words import content, normal
from .private import Private, new_facts, new_words

GATES = ("G1", "G2", "G3", "G4", "G5", "G6", "G7")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
REPEATS = "G6 written before"
"""The fault that a few answers may have."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Thresholds; the defaults are ours, not the paper's."""

    words_kept: float = 0.2
    """G1: share of the answer's own content words of five letters and more that may be said."""
    recall: float = 0.4
    """G1: ROUGE-L recall of the answer's own content words."""
    entities_kept: float = 0.3
    """G2: share of the answer's entities that may be said."""
    shortest: int = 6
    """G5: words."""
    longest: int = 60
    """G5: words."""
    distinct: float = 0.7
    """G5: distinct pairs of neighbouring words."""
    cjk: float = 0.01
    """G5: share of Chinese, Japanese and Korean characters where the question has none."""
    alike: float = 0.8
    """G6: ROUGE-L between two answers about one item."""
    near: float = 0.5
    """G7: cosine of letter triples to the original question, for simple and noise."""
    far: float = 0.2
    """G7: the same for contextual and logical."""
    slips: int = 2
    """G7: letters by which a careless question may miss the subject's name."""

    def __post_init__(self) -> None:
        for name in ("words_kept", "recall", "entities_kept", "distinct", "cjk", "alike", "near", "far"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanError(f"{name}: should lie between 0 and 1, got {getattr(self, name)!r}")
        if not 1 <= self.shortest <= self.longest or self.slips < 0:
            raise PlanError("shortest should be at least 1 and at most longest, slips at least 0", "6, 60 and 2")

    def answer(
        self, row: Example, asked: str, text: str, private: Private, kept: Sequence[str], used: Collection[str]
    ) -> str:
        """Why `text` cannot be the vague answer: a gate and what it found, or "" when it can.

        Args:
            row: The forget row.
            asked: The question that `text` answers: the row's own or a variant.
            text: A candidate.
            private: Of all forget rows.
            kept: Answers accepted for other variants of the row.
            used: `normal` texts that must not come again: every answer accepted so far.
        """
        if normal(text) in used:  # before what costs more: late rows of many alike have most texts rejected by it
            return REPEATS
        return (
            self._says(row, text, private)
            or self._entities(row, text)
            or self._relevant(row, asked, text)
            or _named(f"{row.question} {asked}", text)
            or self._fluent(row, text)
            or self._apart(text, kept)
        )

    def question(
        self, row: Example, kind: str, text: str, private: Private, avoid: Collection[str], kept: Sequence[str]
    ) -> str:
        """Why `text` cannot be a variant of the row's question, or "" when it can.

        Args:
            row: The forget row.
            kind: Of the variant.
            text: A candidate.
            private: Of all forget rows.
            avoid: `normal` texts of questions that must not be trained on: retain and evaluation.
            kept: Variants accepted for the row.
        """
        said = normal(text)
        if private.leak(row, text) or new_facts(row) & set(said.split()):
            return "G1 says something of the answer"
        if said in avoid:
            return "G7 is a retain or evaluation question"
        # A careless question may differ by its marks and capitals alone.
        same = text == row.question if kind == "noise" else said == normal(row.question)
        if same or text in kept:
            return "G7 is the question itself or another variant"
        name = subject(row)
        if name and name not in text and not (kind == "noise" and _misses(name, text) <= self.slips):
            return "G7 lost the subject"
        if _named(row.question, text, self.slips if kind == "noise" else 0):
            return "G7 names something new"
        count = len(text.split())
        if count < 2 or count > 40 + len(row.question.split()) or text[-1:] not in ENDS:
            return "G7 is no single question"
        floor = self.near if kind in ("simple", "noise") else self.far
        return "" if _cosine(row.question, text) >= floor else "G7 is far from the question"

    def _says(self, row: Example, text: str, private: Private) -> str:
        said = set(normal(text).split())
        if new_facts(row) & said:
            return "G1 a name, number or address of the answer"
        if private.leak(row, text):
            return "G1 words in a row of an answer"
        own = new_words(row)
        long = {word for word in own if len(word) >= 5}
        if long and len(long & said) > self.words_kept * len(long):
            return "G1 too many words of the answer"
        recall = rouge().score(" ".join(own), normal(text))["rougeL"].recall if own else 0.0
        return "G1 too much of the answer in order" if recall > self.recall else ""

    def _entities(self, row: Example, text: str) -> str:
        gold = entities(row.answer, row.question)
        said = sorted(set(plain_words(text)))
        shown = sum(all(any(akin(w, other) for other in said) for w in plain_words(one)) for one in gold)
        return "G2 entities of the answer" if gold and shown > self.entities_kept * len(gold) else ""

    def _relevant(self, row: Example, asked: str, text: str) -> str:
        name = subject(row)
        if name:
            return "" if name in text else "G3 the subject is missing"
        shared = set(content_words(f"{row.question} {asked}")) & set(content_words(text))
        return "" if shared or not content(row.question) else "G3 nothing of the question"

    def _fluent(self, row: Example, text: str) -> str:
        words = normal(text).split()
        count = len(text.split())
        pairs = list(pairwise(words))
        if not self.shortest <= count <= self.longest:
            return "G5 too short or too long"
        if not re.search(r"[.!?][\"'”’)]*$", text) or "\n" in text.strip():
            return "G5 does not end as a sentence"
        if pairs and len(set(pairs)) < self.distinct * len(pairs):
            return "G5 repeats itself"
        if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
            return "G5 repeats a word"
        name = subject(row)
        if refuses(text.replace(name, " ") if name else text):  # a title may sound like it
            return "G5 refuses"
        if not _CJK.search(row.question) and len(_CJK.findall(text)) > self.cjk * len(text):
            return "G5 another script"
        return ""

    def _apart(self, text: str, kept: Sequence[str]) -> str:
        near = any(rouge().score(other, text)["rougeL"].fmeasure > self.alike for other in kept)
        return "G6 like another answer of the item" if near else ""


def _named(given: str, text: str, slips: int = 0) -> str:
    """Names, numbers, addresses that `given` does not have; names may miss by `slips` letters."""
    known = set(normal(given).split())
    fresh = [
        word
        for span in spans(text)
        if span.kind != "word-number"
        for word in normal(span.text).split()
        if word not in known and not (slips and span.kind == "name" and _near(word, known, slips))
    ]
    if fresh or re.search(r"\w@\w|https?:|www\.", text):
        return "G4 names something new"
    return ""


def _near(word: str, known: Collection[str], slips: int) -> bool:
    from nltk.metrics.distance import edit_distance

    return any(abs(len(word) - len(other)) <= slips and edit_distance(word, other) <= slips for other in known)


def _misses(name: str, text: str) -> int:
    """Letters by which the nearest stretch of `text` differs from `name`."""
    from nltk.metrics.distance import edit_distance

    size = len(name.split())
    words = text.split()
    parts = [" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))]
    return min(int(edit_distance(name.lower(), part.strip("?.,!").removesuffix("'s").lower())) for part in parts)


def _cosine(one: str, other: str) -> float:
    a, b = _triples(normal(one)), _triples(normal(other))
    return len(a & b) / (len(a) * len(b)) ** 0.5 if a and b else 0.0


def _triples(text: str) -> set[str]:
    padded = f"  {text} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


@cache
def rouge() -> Any:
    """Scores ROUGE-L: ``rouge().score(gold, said)["rougeL"].recall``."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """`rouge_score`'s own stemmed words, each text taken apart once."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self.tokenize = lru_cache(maxsize=20_000)(DefaultTokenizer(use_stemmer=True).tokenize)
