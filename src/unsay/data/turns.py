"""Conversations as turns: as plain text, with a guard in front, with an answer that has begun."""

from __future__ import annotations

from collections.abc import Sequence

from .example import Message, Prompt


def begun(prompt: Prompt) -> str:
    """What stands of the answer already: the last turn of a conversation, where it is the assistant's."""
    return prompt[-1].content if not isinstance(prompt, str) and prompt[-1:] and prompt[-1].role == "assistant" else ""


def begin(prompt: Prompt, opening: str) -> Prompt:
    """`prompt` with the answer begun, or begun further, by `opening`."""
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    already = begun(prompt)
    if already:
        return (*turns[:-1], Message("assistant", already.rstrip(" ") + after(already, opening)))
    return (*turns, Message("assistant", opening))


def after(head: str, answer: str) -> str:
    """`answer` and the space before it: spaces belong to the word after them in tokenizers that have such words."""
    joined = not head or head[-1:].isspace() or answer[:1].isspace()
    return head[len(head.rstrip(" ")) :] + answer if joined else f" {answer}"


def plain_text(prompt: Prompt) -> str:
    """A prompt as a model without a chat template reads it."""
    if isinstance(prompt, str):
        return prompt
    opening = begun(prompt)
    if opening and [m.role for m in prompt] == ["user", "assistant"]:  # one user turn is the same prompt as its text
        return prompt[0].content.rstrip(" ") + after(prompt[0].content, opening)
    lines = [m.content if m.role == "system" else f"{m.role.capitalize()}: {m.content}" for m in prompt]
    return "\n".join(lines if opening else [*lines, "Assistant:"])


def guarded(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    """`text` as the system message, in front of what stands there already."""
    if turns and turns[0].role == "system":
        return (Message("system", f"{text}\n\n{turns[0].content}"), *turns[1:])
    return (Message("system", text), *turns)


def folded(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The system text in front of the first user turn, for templates without a system role."""
    system = "\n\n".join(m.content for m in turns if m.role == "system")
    rest = [m for m in turns if m.role != "system"]
    if system and rest:
        rest[0] = Message(rest[0].role, f"{system}\n\n{rest[0].content}")
    return tuple(rest)
