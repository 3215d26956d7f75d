"""A raw row → an `Example`: the accepted shapes, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .example import Example, Message, Prompt
from .strict import show, value_problems

ALTERNATIVES = {
    "paraphrased_answer": "paraphrased",
    "perturbed_answer": "perturbed",
    "paraphrased_question": "paraphrased_question",
    "refusal": "refusal",
}
"""Row key → key of `Example.alternatives`; a text or a list of texts."""
SHAPES = (("prompt", "completion"), ("question", "answer"), ("messages",), ("text",))
EXPECTED = "prompt+completion, question+answer, messages or text"
ROLES = ("system", "user", "assistant")

_LIKE_QUESTION = ("question", "prompt", "query", "instruction", "input", "q", "text")
_QUOTES = ", so put quotes around it"
_LIKE_ANSWER = ("answer", "completion", "labels", "label", "output", "response", "target", "gold", "a")


def to_example(row: Any, where: str) -> Example | list[str]:
    """`row` as an example, or everything that is wrong with it ("what — how to fix", no content).

    Args:
        row: One object: `SHAPES` for prompt and answer; `id`, `entity` (or `subject`), `ALTERNATIVES` and
            ``alternatives`` are kept in their places; all else goes to `Example.meta` as it is.
        where: ``file:line``, kept as ``meta["source"]`` unless the row has a `source` of its own.
    """
    if not isinstance(row, Mapping):
        return [f"the row is {_kind(row)} — expected an object with {EXPECTED}"]
    problems = value_problems(row)
    shape = _shape(row, problems)
    used = {"id", "alternatives", *ALTERNATIVES, *shape}
    prompt: Prompt = ""
    answer = ""
    if shape == ("messages",):
        prompt, answer = _conversation(row["messages"], "messages", problems)
    elif shape == ("text",):
        answer = _text(row, "text", problems)
        twin = next((k for k in _LIKE_ANSWER if isinstance(row.get(k), str)), None)
        if twin:
            problems.append(f"`text` with {show(twin)} beside it — rename them to question and answer")
    elif shape:
        prompt = _side(row, shape[0], problems)
        answer = _answer_side(row, shape[1], problems)
    alternatives = _alternatives(row, problems)
    meta: dict[str, Any] = {k: v for k, v in row.items() if k not in used}
    entity = meta.get("entity", meta.get("subject"))
    if entity is None:
        meta.pop("entity", None)
    elif isinstance(entity, str):
        meta["entity"] = entity
        if "entity" not in row:
            del meta["subject"]
    else:
        problems.append(f"`entity` is {_kind(entity)} — expected text{_QUOTES}")
    name = row.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= 200):
        problems.append(f"`id` is {_kind(name)} — expected text of 1 to 200 characters, or a whole number")
    if problems:
        return list(dict.fromkeys(problems))
    meta.setdefault("source", where)
    return Example(prompt, answer, str(name or ""), alternatives, meta)


def to_row(example: Example) -> dict[str, Any]:
    """The row that `to_example` reads back as `example`."""
    row: dict[str, Any] = {"id": example.id}
    if isinstance(example.prompt, str):
        row |= {"question": example.prompt, "answer": example.answer} if example.prompt else {"text": example.answer}
    else:
        turns = [*example.prompt, Message("assistant", example.answer)]
        row["messages"] = [{"role": m.role, "content": m.content} for m in turns]
    names = {v: k for k, v in ALTERNATIVES.items()}
    row |= {names[k]: list(v) for k, v in example.alternatives.items() if k in names}
    others = {k: list(v) for k, v in example.alternatives.items() if k not in names}
    return row | ({"alternatives": others} if others else {}) | {k: v for k, v in example.meta.items() if k not in row}


def _kind(value: Any) -> str:
    """What `value` is, without saying what it says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return f"text of {len(value)} characters" if value.strip() else "only whitespace" if value else "empty"
    return "a list" if isinstance(value, (list, tuple)) else "an object"


def _shape(row: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """The shape `row` has; () after noting why it has none."""
    full = [s for s in SHAPES if all(row.get(k) is not None for k in s)]
    if len(full) == 1:
        return full[0]
    if full:
        names = " and ".join("+".join(s) for s in full)
        problems.append(f"the row has {names} at once — keep one of them")
        return ()
    nulls = [s for s in SHAPES if all(k in row for k in s)]
    if nulls:
        missing = ", ".join(f"`{k}`" for k in nulls[0] if row[k] is None)
        problems.append(f"{missing} is null — write the text, or take the row out")
        return ()
    keys = [k for k in row if isinstance(k, str)]
    lowered = {k.lower(): k for k in keys}
    q = next((lowered[k] for k in _LIKE_QUESTION if k in lowered), None)
    a = next((lowered[k] for k in _LIKE_ANSWER if k in lowered), None)
    how = f"rename {show(q)} to question and {show(a)} to answer" if q and a else f"expected {EXPECTED}"
    got = ", ".join(map(show, keys[:8])) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
    problems.append(f"no prompt and answer among the keys ({got or 'none'}) — {how}")
    return ()


def _text(row: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = row[key]
    if not isinstance(value, str):
        problems.append(f"`{key}` is {_kind(value)} — expected text{_QUOTES if _kind(value) == 'a number' else ''}")
        return ""
    if not value.strip():
        problems.append(f"`{key}` is {_kind(value)} — write the text, or take the row out")
    return value


def _side(row: Mapping[str, Any], key: str, problems: list[str]) -> Prompt:
    """A prompt: text, or a list of messages that ends with the user."""
    if not isinstance(row[key], list):
        return _text(row, key, problems)
    turns = _messages(row[key], key, problems)
    if turns and turns[-1].role != "user":
        problems.append(f"`{key}` ends with the {turns[-1].role} — expected the user's turn last")
    return _short(turns)


def _answer_side(row: Mapping[str, Any], key: str, problems: list[str]) -> str:
    """An answer: text, or a list of one assistant message."""
    if not isinstance(row[key], list):
        return _text(row, key, problems)
    turns = _messages(row[key], key, problems)
    if turns and [m.role for m in turns] != ["assistant"]:
        problems.append(f"`{key}` has {len(turns)} messages — expected text, or one message of the assistant")
    return turns[-1].content if turns else ""


def _conversation(value: Any, key: str, problems: list[str]) -> tuple[Prompt, str]:
    """A whole conversation: the last turn is the answer, all before it the prompt."""
    turns = _messages(value, key, problems)
    if turns and (turns[-1].role != "assistant" or len(turns) < 2 or turns[-2].role != "user"):
        problems.append(f"`{key}` does not end with a user's turn and the assistant's answer — end it so")
        return "", ""
    return (_short(turns[:-1]), turns[-1].content) if turns else ("", "")


def _short(turns: tuple[Message, ...]) -> Prompt:
    """One user turn is the same prompt as its text, whichever shape it came in."""
    return turns[0].content if len(turns) == 1 and turns[0].role == "user" else turns


def _messages(value: Any, key: str, problems: list[str]) -> tuple[Message, ...]:
    """The turns of a list of messages; () after noting what is wrong with them."""
    before = len(problems)
    if not isinstance(value, list) or not value:
        problems.append(f"`{key}` is {'an empty list' if value == [] else _kind(value)} — expected a list of messages")
        return ()
    turns = []
    for i, item in enumerate(value, 1):
        if not isinstance(item, Mapping):
            problems.append(f"message {i} of `{key}` is {_kind(item)} — expected an object with role and content")
            continue
        role, content = item.get("role"), item.get("content")
        more = [k for k, v in item.items() if k not in ("role", "content") and v is not None]
        if more:
            problems.append(
                f"message {i} of `{key}` has {', '.join(map(show, more[:3]))} — only role and content are read"
            )
        if role not in ROLES:
            problems.append(f"message {i} of `{key}` has no known role — expected {', '.join(ROLES)}")
        elif role == "system" and i > 1:
            problems.append(f"message {i} of `{key}` is a system turn — expected it first")
        if not isinstance(content, str):
            problems.append(f"message {i} of `{key}` has content that is {_kind(content)} — expected text")
        elif not content.strip():
            problems.append(f"message {i} of `{key}` is empty — write the text, or take the row out")
        else:
            turns.append(Message(str(role), content))
    return tuple(turns) if len(problems) == before else ()


def _alternatives(row: Mapping[str, Any], problems: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, Any] = {ALTERNATIVES[k]: (k, row[k]) for k in ALTERNATIVES if row.get(k) is not None}
    more = row.get("alternatives")
    if isinstance(more, Mapping):
        found |= {str(k): (f"alternatives.{show(k)[1:-1]}", v) for k, v in more.items()}
    elif more is not None:
        problems.append(f"`alternatives` is {_kind(more)} — expected an object of texts or lists of texts")
    out = {}
    for name, (key, value) in found.items():
        texts = value if isinstance(value, list) else [value]
        wrong = [t for t in texts if not isinstance(t, str) or not t.strip()]
        if wrong:
            problems.append(f"`{key}` has an entry that is {_kind(wrong[0])} — expected text or a list of texts")
        elif texts:
            out[name] = tuple(texts)
    return out
