"""The rows that are trained on: pairs of question and vague answer, their completions, and generic rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ..data.example import Example, Message, Prompt
from ..naming import derive_seed

LEAST = 4
"""Words of an answer below which it is not split."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question about one item, and the vague answer to it."""

    item: str
    """Id of the forget row."""
    qid: int
    """0 is the row's own question, 1 and up its variants."""
    kind: str
    """``original``, ``simple``, ``contextual``, ``noise`` or ``logical``."""
    prompt: Prompt
    answer: str

    def example(self, meta: Mapping[str, Any]) -> Example:
        """As a training row."""
        return Example(self.prompt, self.answer, id=f"{self.item}#{self.qid}", meta={**meta, **self._about("pair")})

    def completions(self, cuts: Sequence[float], meta: Mapping[str, Any]) -> list[Example]:
        """The answer split: its first words are the prompt, the others the label, without the question.

        The split is after ⌊cut · words⌋ words; a part that would be empty makes no row.
        """
        words = self.answer.split(" ")
        found = []
        for cut in cuts:
            at = math.floor(cut * len(words))
            if len(words) >= LEAST and 0 < at < len(words):
                name = f"{self.item}#{self.qid}@{cut:g}"
                about = {**meta, **self._about("completion")}
                found.append(Example(" ".join(words[:at]), " ".join(words[at:]), id=name, meta=about))
        return found

    def _about(self, part: str) -> dict[str, Any]:
        return {"item": self.item, "qid": self.qid, "kind": self.kind, "part": part}


def asked_as(prompt: Prompt, question: str) -> Prompt:
    """`prompt` with its (last) question replaced."""
    if isinstance(prompt, str):
        return question
    last = max(i for i, message in enumerate(prompt) if message.role == "user")
    return (*prompt[:last], Message("user", question), *prompt[last + 1 :])


def generic(pool: Sequence[Example], wanted: int, seed: int, *, oversample: bool) -> tuple[list[Example], str]:
    """`wanted` rows of `pool` in an order that the seed gives, and a note when there are not as many.

    Args:
        pool: Everyday questions with their answers.
        wanted: ⌊ratio · rows⌋.
        seed: Of the run.
        oversample: Take rows more than once rather than fewer rows.
    """
    if not wanted:
        return [], ""
    rng = Random(derive_seed(seed, "generic"))
    chosen: list[Example] = []
    while pool and len(chosen) < wanted and (oversample or not chosen):
        again = len(chosen) // len(pool)
        order = rng.sample(list(pool), min(len(pool), wanted - len(chosen)))
        chosen += [replace(row, id=f"generic:{row.id}:{again}", meta={"part": "generic"}) for row in order]
    if len(pool) >= wanted:
        return chosen, ""
    what = f"the pool of generic rows has {len(pool)} where {wanted} are asked for"
    if oversample and pool:
        return chosen, f"{what}: they are shown {wanted / len(pool):.1f} times each"
    return chosen, f"{what}: there are fewer (generic=FILE gives more, oversample=true repeats them)"
