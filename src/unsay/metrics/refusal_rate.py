"""How often the model declines to answer; on what should stay, over-refusal.

A generation counts as a refusal when one of a list of phrases ("I don't know", "I cannot help") stands in its first 40
words, upper and lower case alike; the score is the share of refusals.

Paper: refusal matching by phrases, Zou et al. 2023 (arXiv:2307.15043); over-refusal on rows to keep: TOFU's
idk methods (arXiv:2401.06121).
Limits: English. An answer that quotes such a phrase counts; a refusal in other words does not. Evasions and wrong
answers are not refusals.
Differs: the list is this project's own (metrics/_refusal_phrases.txt) and is about not knowing as well as not wanting.

>>> refuses("I'm sorry, but I don’t know that."), refuses("He does not know fear."), refuses("")
(True, False, False)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ._shared import mean_score, obstacle
from .have import Measurements
from .needs import Generations
from .score import Score, unscored

_WORDS = 40


@dataclass(frozen=True, kw_only=True)
class RefusalRate:
    """Share of greedy answers that decline."""

    split: str = "retain"
    max_new_tokens: int = 128
    """Length limit of the generations."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[Generations, ...]:
        """Greedy answers."""
        return (Generations(self.split, max_new_tokens=self.max_new_tokens),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts = have.rows(self.split), have.texts(self.needs[0])
        found = {row.id: [float(refuses(text)) for text in texts.get(row.id, ())] for row in rows}
        return mean_score({i: sum(v) / len(v) for i, v in found.items() if v}, rows, lacking="generation")


def refuses(text: str) -> bool:
    """Whether one of the phrases stands among the first words of `text`."""
    start = " ".join(_plain(text).split()[:_WORDS])
    return bool(_phrases().search(start))


def _plain(text: str) -> str:
    return re.sub(r"[^\w'\s]", " ", re.sub("[’‘`´]", "'", text.lower()))


@cache
def _phrases() -> re.Pattern[str]:
    lines = (files(__package__) / "_refusal_phrases.txt").read_text(encoding="utf-8").splitlines()
    return re.compile(r"\b(?:" + "|".join(re.escape(" ".join(_plain(line).split())) for line in lines if line) + r")\b")
