"""A screen in front of a model: another question is asked in the place of those that resemble given ones.

    asked(x) = instead   if max_q |w(x) ∩ w(q)| / |w(q)| ≥ share,   else x        w: the set of words of a text

It is what providers put before a model to make it look as if it had forgotten: the model itself is as it was, and words
that no screened question has get through.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from ..errors import DataError
from ..naming import digest
from .example import Message, Prompt
from .template import Template


@dataclass(frozen=True)
class Screen:
    """Which questions are stopped, and what the model is asked instead."""

    questions: tuple[str, ...]
    instead: str
    """What the model should refuse, or what tells it to."""
    share: float = 0.9
    """Share of a stopped question's words that makes another question resemble it."""

    def __post_init__(self) -> None:
        if not any(map(words, self.questions)) or not self.instead.strip() or not 0 < self.share <= 1:
            raise DataError("a screen needs questions, another question and a share in (0, 1]")

    @cached_property
    def _stopped(self) -> tuple[frozenset[str], ...]:
        return tuple(dict.fromkeys(found for found in map(words, self.questions) if found))

    def stops(self, question: str) -> bool:
        """Whether `question` resembles one of the screen's."""
        asked = words(question)
        return any(len(asked & stopped) >= self.share * len(stopped) for stopped in self._stopped)

    def passed(self, prompt: Prompt) -> Prompt:
        """What the model gets to see of `prompt`: in a conversation the last user turn counts, and is replaced."""
        if isinstance(prompt, str):
            return self.instead if self.stops(prompt) else prompt
        at = max((i for i, turn in enumerate(prompt) if turn.role == "user"), default=None)
        if at is None or not self.stops(prompt[at].content):
            return prompt
        return (*prompt[:at], Message("user", self.instead), *prompt[at + 1 :])


def words(text: str) -> frozenset[str]:
    """The words of a text, without case."""
    return frozenset(re.findall(r"\w+", text.casefold()))


@dataclass(frozen=True)
class ScreenedTemplate(Template):
    """A template behind a screen; see `screened`."""

    screen: Screen | None = field(default=None, kw_only=True)

    def fingerprint(self) -> str:
        """Content hash of what decides the ids, the screen included."""
        return digest([super().fingerprint(), self.screen])

    def _prompt_text(self, prompt: Prompt) -> str:
        return super()._prompt_text(self.screen.passed(prompt) if self.screen else prompt)


def screened(template: Template, screen: Screen) -> Template:
    """`template` behind `screen`; one in front of it already is replaced."""
    return ScreenedTemplate(**_fields(template), screen=screen)


def unscreened(template: Template) -> Template:
    """The template without its screen."""
    return Template(**_fields(template)) if isinstance(template, ScreenedTemplate) else template


def _fields(template: Template) -> dict[str, Any]:
    fresh = replace(template, _memo={})  # what is remembered was written with or without a screen
    return {f.name: getattr(fresh, f.name) for f in fields(Template)}
