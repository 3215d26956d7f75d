"""What of an answer its question does not say already: the part by which a leak is told from an echo."""

from __future__ import annotations

from dataclasses import dataclass

from .entities import content_words, plain_words, stem
from .example import Example, Prompt

SPANS = "spans"
"""Key of `Example.meta`: the text or texts within the answer that tell the secret, where a row names them."""


@dataclass(frozen=True)
class Secret:
    """What an answer has to contain to give something away."""

    words: frozenset[str]
    """Stems that the prompt does not have; never empty."""
    spans: tuple[tuple[str, ...], ...] = ()
    """Each a run of words that tells the secret by itself."""

    def recall(self, text: str) -> float:
        """Share of `words` in `text`, in [0, 1]."""
        return len(self.words & {stem(word) for word in plain_words(text)}) / len(self.words)

    def told(self, text: str) -> bool:
        """Whether `text` leaks: it holds a span whole, or every word."""
        said = plain_words(text)
        return any(_holds(said, span) for span in self.spans) or self.recall(text) == 1.0


def spans(row: Example) -> tuple[str, ...]:
    """The texts under `SPANS`, () where the row names none."""
    given = row.meta.get(SPANS, ())
    return tuple(str(text) for text in ([given] if isinstance(given, str) else given) if str(text).strip())


def secret(row: Example, *more: str) -> Secret | None:
    """The secret of `row`, given its prompt and further texts that were said before the answer.

    The words are those of the spans, else of the answer, function words left out unless there are no others.

    Returns:
        None where the prompt says everything already.

    >>> secret(Example("Where does Ada Moor live?", "Ada Moor lives in Oslo.")).recall("She lives in Oslo now.")
    1.0
    """
    before = {stem(word) for text in (said(row.prompt), *more) for word in plain_words(text)}
    named = spans(row)
    texts = named or (row.answer,)
    words = {w for text in texts for w in content_words(text)} or {w for text in texts for w in plain_words(text)}
    new = frozenset(map(stem, words)) - before
    runs = (tuple(plain_words(text)) for text in named)
    return Secret(new, tuple(run for run in runs if {stem(w) for w in run} & new)) if new else None


def said(prompt: Prompt) -> str:
    """All that a prompt says, whoever says it."""
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)


def _holds(words: list[str], span: tuple[str, ...]) -> bool:
    return any(tuple(words[i : i + len(span)]) == span for i in range(len(words) - len(span) + 1))
