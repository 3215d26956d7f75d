"""What of an answer its question does not say already: the part by which a leak is told from an echo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .entities import content_words, entities, plain_words, stem, whole
from .example import Example, Prompt

SPANS = "spans"
"""Key of `Example.meta`: the text or texts within the answer that tell the secret, where a row names them."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Secret:
    """What an answer has to contain to give something away."""

    words: frozenset[str]
    """Stems that the prompt does not have; never empty."""
    spans: tuple[tuple[str, ...], ...] = ()
    """Each a run of words that tells the secret by itself: what the row names, else the answer's names and numbers."""

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

    >>> found = secret(Example("Where does Ada Moor live?", "Ada Moor has a flat in Oslo."))
    >>> found.recall("She lives in Oslo."), found.told("She lives in Oslo."), found.told("She has a flat.")
    (0.5, True, False)
    """
    earlier = "\n".join((said(row.prompt), *more))
    before = {stem(word) for word in plain_words(earlier)}
    named = spans(row)
    texts = named or (row.answer,)
    words = {w for text in texts for w in content_words(text)} or {w for text in texts for w in plain_words(text)}
    new = frozenset(map(stem, words)) - before
    runs = (tuple(plain_words(text)) for text in named or _names(entities(row.answer, earlier)))
    return Secret(new, tuple(run for run in runs if {stem(w) for w in run} & new)) if new else None


def named_in(row: Example, text: str) -> list[tuple[int, int]]:
    """First character and end of each of the row's spans that stands in `text`, the answer."""
    found = (whole(span, re.IGNORECASE).search(text) for span in spans(row))
    return [match.span() for match in found if match]


def told(row: Example, text: str) -> list[tuple[int, int]] | None:
    """First character and end of each part of `text`, the answer, that tells what the question does not.

    The parts are what the row names; else the names and numbers that the question does not have; else its other
    entities; else its other words that are not in the question.

    Returns:
        [] where no part stands out, so that all of it tells it; None where nothing does.

    >>> told(Example("Where does Ada live?", "Ada lives in Oslo."), "Ada lives in Oslo.")
    [(13, 17)]
    """
    if parts := named_in(row, text):
        return parts
    every = entities(row.answer, row.question)
    if parts := _found(_names(every), text) or _found(every, text):
        return parts
    new = secret(row)
    if new is None:
        return None
    words = [m.span() for m in _WORD.finditer(text) if stem(m[0].lower()) in new.words]
    return [] if len(words) == len(_WORD.findall(text)) else words


def places(parts: Sequence[tuple[int, int]], ends: Sequence[int]) -> list[int]:
    """Numbers of the tokens of a text that share a character with one of `parts`.

    Args:
        parts: First character and end of each.
        ends: Characters of the text up to the end of each token.

    >>> places([(13, 17)], [3, 9, 12, 15, 17, 18])
    [3, 4]
    """
    begins = [0, *ends[:-1]]
    return [i for i, end in enumerate(ends) if any(first < end and begins[i] < last for first, last in parts)]


def said(prompt: Prompt) -> str:
    """All that a prompt says, whoever says it."""
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)


def _names(found: Sequence[str]) -> list[str]:
    """Of entities those that are a name or a number."""
    return [one for one in found if any(c.isupper() or c.isdigit() for c in one)]


def _found(parts: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where each part stands in `text` first: as whole words, or where it nowhere does, within one (25 in 25th)."""
    found = (whole(part).search(text) or re.search(re.escape(part), text) for part in parts)
    return [match.span() for match in found if match]


def _holds(words: list[str], span: tuple[str, ...]) -> bool:
    return any(tuple(words[i : i + len(span)]) == span for i in range(len(words) - len(span) + 1))
