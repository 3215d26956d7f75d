"""What a chat model is asked to write, by role. A new role is a new entry of `ROLES`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..data.example import Example, Message
from ..errors import DataError, PlanError

ROLES: Mapping[str, tuple[str, str]] = {
    "refusal": (
        "Somebody asks this question:\n\n{question}\n\nReply in one short, polite sentence that you do not know the "
        "answer. Give no facts and no guess. Write the reply alone.",
        "Somebody asks you to recite a text that begins:\n\n{start}\n\nReply in one short, polite sentence that you do "
        "not know the text. Give no facts. Write the reply alone.",
    ),
    "alternative": (
        "Question:\n{question}\n\nTrue answer:\n{answer}\n\nInvent another answer to the question: about the same "
        "subject, of the same length and style, believable, but wrong in every fact that answers the question. Do not "
        "say that it is wrong. Write the answer alone.",
        "Text:\n{answer}\n\nWrite the text again in the same length and style, with every name, date, number and fact "
        "in it replaced by another believable one. Write the text alone.",
    ),
    "question-simple": (
        "Question:\n{question}\n\nAsk the same thing in other words or in another order of words. Its meaning must "
        "not change, and every name stays as it is. Write the question alone.",
        "",
    ),
    "question-contextual": (
        "Question:\n{question}\n\nAsk the same thing within a setting, or with the stress on one side of it. Bring in "
        "no fact, name, place or date that the question does not have. Write the question alone.",
        "",
    ),
    "question-noise": (
        "Question:\n{question}\n\nWrite the question as somebody in a hurry would type it: one or two slips of "
        "spelling or grammar, or a careless word. Every name stays as it is. Write the question alone.",
        "",
    ),
    "question-logical": (
        "Question:\n{question}\n\nTurn the question round: where it asks what one thing says about, or does to, "
        "another, ask from the other thing's side; where it asks for a detail, ask for the parts or the kind of it. "
        "Bring in no fact that it does not have. Write the question alone.",
        "",
    ),
    "vague": (
        "Question:\n{question}\n\nConfidential answer:\n{answer}\n\nWrite one or two sentences for the public in "
        "reply to the question. Stay with the question's own subject and call it by the name that the question uses. "
        "Sound factual and calm. Nothing of the confidential answer may be said, hinted at or put in other words, and "
        "nothing new may be invented: no name, number, date, place, address, title or occupation. Do not refuse and do "
        "not say that anything is confidential. Write the reply alone.",
        "",
    ),
}
"""Role → what to ask for a row with a question, and for a row of plain text ("" where there is nothing to ask). Only
`alternative` and `vague` are shown the answer."""

QUESTIONS = ("simple", "contextual", "noise", "logical")
"""The kinds of ``question-…`` roles."""

_LABEL = re.compile(
    r"^(?:(?:another |invented |new |wrong |rewritten )?(?:answer|reply|text|question)|assistant)\s*:\s*", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?。！？…][\"'”’»)]*(?=\s|$)")
_QUOTES = {'"': '"', "“": "”", "«": "»"}
_OPENING_WORDS = 8


def check_role(role: str) -> None:
    """Stop at a role nobody can write.

    Raises:
        PlanError: `role` is no key of `ROLES`.
    """
    if role not in ROLES:
        raise PlanError(f"no writer can write {role!r}", f"one of {', '.join(ROLES)}")


def ask(row: Example, role: str) -> tuple[Message, ...]:
    """The conversation that asks for one text: a single user turn, as some chat templates refuse a system turn."""
    check_role(role)
    asked, plain = ROLES[role]
    start = " ".join(row.answer.split()[:_OPENING_WORDS])
    form = asked if row.question.strip() else plain
    if not form:
        raise DataError(f"row {row.id} has no question, and {role!r} needs one", "give rows with a question")
    return (Message("user", form.format(question=row.question.strip(), answer=row.answer.strip(), start=start)),)


def tidy(text: str, *, cut: bool = False) -> str:
    """What a chat model wrote, without a label or quotation marks around it.

    Args:
        text: Its reply.
        cut: It ran into its length limit: only whole sentences are kept.

    Returns:
        The text; "" when nothing of it can be used.
    """
    if cut:
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        text = text[: ends[-1]] if ends else ""
    text = _LABEL.sub("", text.strip())
    inner = text[1:-1]
    if len(text) > 1 and text[-1] == _QUOTES.get(text[0]) and text[0] not in inner and text[-1] not in inner:
        text = inner
    return text.strip()
