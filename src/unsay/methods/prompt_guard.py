r"""Guard prompt: tell the model, before every question, what it must not talk about.

    p(y | x) = p_θ0(y | guard ⊕ x)      guard: a system message that names the subjects of the forget rows

Paper    Thaker, Maurya, Hu, Wu, Smith (2024). Guardrail Baselines for Unlearning in LLMs. arXiv:2403.03329
Limits   No weight changes: the knowledge is still in the checkpoint, and whoever sends other prompts has it. Needs a
         model that follows instructions. The guard itself names what is to be forgotten.
Differs  The words are this project's. Subjects are the rows' entities, or the names in their questions, first come
         first listed. Rows without a prompt are plain text, before which there is nothing to guard.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.example import Example, ForgetData
from ..errors import MethodError, PlanError
from ..models.patches import with_guard

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_GUARD = (
    "The following subjects are off limits: {}. Whatever is asked about them, say that you have no information about "
    "it, and neither reveal, confirm nor hint at anything. Answer all other questions as usual."
)
_LINKS = frozenset({"al", "bin", "da", "de", "del", "der", "di", "ibn", "la", "of", "van", "von"})
_OPENERS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at by can could describe did do does explain for from give has have how i if in is it list "
        "name of on please tell that the their there these they this to was were what when where which who whom whose "
        "why will with would write you",
    )
)
"""Words that are capitalised for standing first."""


@dataclass(frozen=True, kw_only=True)
class PromptGuard:
    """Refuse by instruction; zero weights change."""

    text: str = ""
    """The guard; empty writes one that names the subjects of the forget rows."""
    most: int = 50
    """Subjects named at most."""

    def __post_init__(self) -> None:
        if self.most < 1:
            raise PlanError(f"most: should be at least 1, got {self.most!r}")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """`lm` with the guard in its template and in `LM.patches`.

        Raises:
            MethodError: the forget rows name nobody, or `lm` has a guard already.
            DataError: the guard holds a control token of the tokenizer.
        """
        text = self.text.strip()
        if not text:
            named = subjects(data.forget)
            if not named:
                raise MethodError("the forget rows name no subject to refuse", "give method.text, or rows an entity")
            if len(named) > self.most:
                run.note(f"the guard names {self.most} of {len(named)} subjects; raise method.most to name more")
            text = _GUARD.format("; ".join(named[: self.most]))
        return with_guard(lm.fork(), text)


def subjects(rows: Sequence[Example]) -> list[str]:
    """Whom or what `rows` are about, each once, in their order.

    A row's entity counts where a text of that entity speaks of it by this name; identifiers such as ``author-17`` do
    not. The other rows give the names in their questions, the commonest first.
    """
    spoken = {row.entity for row in rows if row.entity.casefold() in f"{row.question} {row.answer}".casefold()} - {""}
    found = dict.fromkeys(row.entity for row in rows if row.entity in spoken)
    counts = Counter(name for row in rows if row.entity not in spoken for name in dict.fromkeys(_names(row.question)))
    return [*found, *(name for name, _ in counts.most_common() if name not in found)]


def _names(question: str) -> Iterator[str]:
    """Runs of capitalised words, without the words that open a sentence."""
    run: list[str] = []
    for word in [*re.findall(r"[\w'’-]+|[^\w\s]", question), ""]:
        if word[:1].isupper() or (run and word in _LINKS):
            run.append(re.sub(r"['’]s$", "", word))
            continue
        while run and run[0].lower() in _OPENERS:
            run.pop(0)
        while run and run[-1] in _LINKS:
            run.pop()
        if run:
            yield " ".join(run)
        run = []
