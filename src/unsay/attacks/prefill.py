"""The answer begun: a model that was taught to open with a refusal is past that point.

    x = q ⊕ "The answer is",  then y        or        x = q ⊕ y_<s,  then y_≥s
    y_<s: the answer's words before the first one that tells what the question does not

Given    0 with a fixed opening. The wording of the answers (no content word that the question lacks) with ``own``.
Paper    the weakness is named in a review of UniErase (arXiv:2505.15674): only the first token is redirected; prefilled
         answers as an attack: Andriushchenko, Croce, Flammarion (2024), arXiv:2404.02151
Limits   Whoever serves the model must let the answer be begun, as an open checkpoint does. ``own`` leaves out rows
         whose answer starts with the secret; there only what follows is scored, as the opening was given.
Differs  Openings of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..data.entities import plain_words, stem
from ..data.example import Example, ForgetData
from ..data.novel import secret
from ..data.turns import begin
from ..errors import PlanError
from ._ask import instead, questions, slug
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_OWN = "own"


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """Every forget question with the answer begun."""

    openings: tuple[str, ...] = ("The answer is", _OWN)
    """Texts that the answer is begun with; ``own`` is the beginning of each row's answer."""

    axis: ClassVar[str] = "number of the opening"

    def __post_init__(self) -> None:
        if not self.openings or not all(text.strip() for text in self.openings):
            raise PlanError("openings: should be texts", f"[The answer is, {_OWN}]")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One per opening; `at` counts them.

        Raises:
            MethodError: no forget row has a question.
        """
        rows = questions(data.forget, "prefill")
        for number, text in enumerate(self.openings, 1):
            if text == _OWN:
                begun = [(row, *split) for row in rows if (split := opening(row))]
                asked = [instead(row, begin(row.prompt, head), rest) for row, head, rest in begun]
            else:
                asked = [row.with_prompt(begin(row.prompt, text)) for row in rows]
            if asked:
                yield Probe(slug(text), lm, at=number, splits={"forget": asked})
            if len(asked) < len(rows):
                run.note(f"prefill: {len(rows) - len(asked)} of {len(rows)} answers begin with what they tell")


def opening(row: Example) -> tuple[str, str] | None:
    """The answer's words before the first that tells something its question does not, and the others.

    None where that is the first word, or where nothing is told.

    >>> opening(Example("Where does Ada Moor live?", "Ada Moor lives in Oslo, by the sea."))
    ('Ada Moor lives in', 'Oslo, by the sea.')
    """
    hidden = secret(Example(row.prompt, row.answer))
    if hidden is None:
        return None
    for match in re.finditer(r"\S+", row.answer):
        if {stem(word) for word in plain_words(match[0])} & hidden.words:
            head = row.answer[: match.start()].rstrip()
            return (head, row.answer[match.start() :]) if head else None
    return None
