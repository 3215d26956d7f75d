"""Prompt and answer → token ids: the place where the boundary between them is decided, once, and verified.

Two kinds of template. *chat* renders the tokenizer's own chat template; *plain* joins prompt and answer with one space.
A row with an empty prompt is plain text under both. A prompt that ends with the assistant's turn has begun the answer,
which goes on from there. Nothing here reads padding: masks come from lengths.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import DataError
from ..naming import digest
from .example import Message, Prompt
from .turns import after, begun, folded, guarded, plain_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["auto", "chat", "plain"]

_VERSION = 1  # raise when the same rows would come out as other ids: caches are keyed by the fingerprint
_DAY = "26 Jul 2024"  # templates that print today's date would give other ids tomorrow
_MEMO = 20_000
_PLAIN = "model.template=plain uses no chat template"
_PROBES = ("probesystem", "probeuser", "probeanswer", "probeagain", "probelast")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as token ids, without padding."""

    input_ids: list[int]
    answer_start: int
    """Index of the first answer token, ≥ 1: a first token has nothing before it to be predicted from."""

    @property
    def answer_ids(self) -> list[int]:
        """The tokens that carry the loss, end-of-turn token included."""
        return self.input_ids[self.answer_start :]

    def __len__(self) -> int:
        return len(self.input_ids)

    def cut(self, max_length: int) -> Encoded:
        """The first `max_length` tokens; callers check before that some answer is left (`checks.check_lengths`)."""
        return self if len(self) <= max_length else Encoded(self.input_ids[:max_length], self.answer_start)


@dataclass(frozen=True)
class Template:
    """How a tokenizer wants prompts written. Build it with `Template.of`."""

    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    kind: Literal["chat", "plain"]
    end_ids: frozenset[int]
    """Ids that end a generation: end of turn and end of text."""
    pad_id: int
    """What fills batches: the pad token, or the end token where there is none. Never compared with."""
    start: tuple[int, ...] = ()
    """Ids the tokenizer puts before a plain text (BOS, usually)."""
    stop: int = 0
    """The id appended to answers that no template ends."""
    chat: str = field(default="", repr=False)
    """chat: the template's source, with the date pinned."""
    opens: str = ""
    """chat: what the template puts between its own generation prompt and every answer (an empty thinking block)."""
    gap: str = ""
    """chat: the whitespace it writes before an answer, which is part of the answer's first token."""
    tail: str = ""
    """chat: what it writes after an answer, up to and including its end-of-turn token."""
    folds_system: bool = False
    """The template knows no system role; the system text goes before the first user turn."""
    trims: bool = False
    """The template strips whitespace around an answer."""
    loose: bool = False
    """The tokenizer does not keep whitespace, so that decoded answers are compared without any."""
    guard: str = ""
    """Stands before every prompt; see `guarded`."""
    _control: re.Pattern[str] = field(default_factory=lambda: re.compile("(?!)"), repr=False, compare=False)
    _memo: dict[Prompt, tuple[str, tuple[int, ...]]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, kind: Kind = "auto") -> Template:
        """The template of `tokenizer`.

        Args:
            tokenizer: Any fast tokenizer of transformers. It is not changed.
            kind: ``chat`` needs a chat template, ``plain`` needs none, ``auto`` is chat or an error.

        Raises:
            DataError: no chat template; one that loses or repeats turns; no token that could end an answer.
        """
        if kind not in ("auto", "chat", "plain"):
            raise DataError(f"model.template is {kind!r}, expected auto, chat or plain", "model.template=plain")
        if kind != "plain" and not tokenizer.chat_template:
            raise DataError(
                f"the tokenizer has no chat template, and model.template={kind} needs one",
                "model.template=plain joins prompt and answer as plain text",
            )
        control = _control_tokens(tokenizer)
        chat = {} if kind == "plain" else _probe(tokenizer, control)
        tail = str(chat.get("tail", ""))
        eos = _one_id(tokenizer.eos_token_id)
        pad = _one_id(tokenizer.pad_token_id)
        turn = _one_id(tokenizer.convert_tokens_to_ids(control.findall(tail)[-1])) if tail else eos
        stop = turn if eos is None else eos
        if stop is None:
            raise DataError(
                "the tokenizer has no end-of-text token, so that no answer could ever end",
                "set eos_token in the model's tokenizer_config.json",
            )
        bare = _ids(tokenizer, ["a b, c"])[0]
        dressed = tokenizer("a b, c", add_special_tokens=True, verbose=False)["input_ids"]
        at = next((k for k in range(len(dressed)) if dressed[k : k + len(bare)] == bare), 0)
        return cls(
            tokenizer=tokenizer,
            kind="plain" if kind == "plain" else "chat",
            end_ids=frozenset({stop, turn} if turn is not None else {stop}),
            pad_id=stop if pad is None else pad,
            start=tuple(dressed[:at]),
            stop=stop,
            loose=" ".join(str(tokenizer.decode(bare)).split()) != "a b, c",
            _control=control,
            **chat,
        )

    def guarded(self, text: str) -> Template:
        """The same template with `text` before every prompt, or without any for ``""``.

        It is the system message of a conversation, in front of the row's own if there is one; where the chat template
        has no such role it stands before the first user turn, and under plain before the prompt. A row with an empty
        prompt is plain text that nobody asked for, and stays as it is.

        Raises:
            DataError: the text holds a control token of the tokenizer.
        """
        if self._control.search(text):
            raise DataError("the guard holds a control token of the tokenizer: remove it")
        return replace(self, guard=text, _memo={})

    def fingerprint(self) -> str:
        """Content hash of what decides the ids, except the tokenizer's merges: the model's fingerprint has those."""
        sample = _ids(self.tokenizer, ["The quick brown fox, 1984: naïve? \n  Yes."])[0]
        chat = [self.chat, self.opens, self.gap, self.tail, self.folds_system, self.trims]
        ends, guard = sorted(self.end_ids), [self.guard] if self.guard else []
        return digest([_VERSION, self.kind, self.start, self.stop, ends, chat, len(self.tokenizer), sample, *guard])

    def encode(self, prompt: Prompt, answer: str) -> Encoded:
        """Ids of `prompt` and `answer`; ``input_ids[:answer_start] == encode_prompt(prompt)`` for every answer.

        Raises:
            DataError: the answer's ids do not decode back to it, a text holds a control token of the tokenizer, or the
                chat template refuses the turns.
        """
        return self.encode_many([(prompt, answer)])[0]

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The ids generation starts from: exactly the training prefix. One token (BOS or end of text) for ``""``."""
        text = self._texts([prompt])[prompt]
        if isinstance(text, DataError):
            raise text
        return list(text[1])

    def prompt_offsets(self, prompt: Prompt) -> tuple[list[int], str, list[tuple[int, int]]]:
        """`encode_prompt`, the text it reads, and first and last character of each id; (0, 0) for an added BOS."""
        ids, text = self.encode_prompt(prompt), self._prompt_text(prompt)
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = [(int(a), int(b)) for a, b in found["offset_mapping"]]
        return ids, text, [(0, 0)] * (len(ids) - len(offsets)) + offsets

    def encode_many(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Encoded]:
        """`encode` for many rows in two calls of the tokenizer.

        Raises:
            DataError: with every row that cannot be encoded.
        """
        done = self.attempt(pairs)
        problems = [f"row {i} — {e}" for i, e in enumerate(done, 1) if isinstance(e, str)]
        if problems:
            raise DataError(problems if len(done) > 1 else problems[0].removeprefix("row 1 — "))
        return [e for e in done if isinstance(e, Encoded)]

    def attempt(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Encoded | str]:
        """Like `encode_many`, with what is wrong (no text of the row in it) in the place of a row that fails."""
        prefixes = self._texts(p for p, _ in pairs)
        out: list[Encoded | str] = []
        todo: list[tuple[int, str, str, tuple[int, ...]]] = []
        for prompt, answer in pairs:
            prefix = prefixes[prompt]
            if isinstance(prefix, DataError):
                out.append(prefix.message)
            elif self._control.search(answer):
                out.append(
                    "the answer holds a control token of the tokenizer (such as its end-of-turn mark): remove it"
                )
            else:
                todo.append((len(out), prefix[0], self._answer_text(prompt, answer), prefix[1]))
                out.append("")
        wholes = _ids(self.tokenizer, [head + body for _, head, body, _ in todo])
        for (i, head, body, lead), ids in zip(todo, wholes, strict=True):
            # Tokens written by the tokenizer itself (BOS) stand in `lead` but not in the text.
            ids = list(lead if not head else self.start if self._is_plain(pairs[i][0]) else ()) + ids
            if ids[: len(lead)] != list(lead):  # a token spans the boundary: the prefix must stay what it is
                ids = [*lead, *_ids(self.tokenizer, [body])[0]]
            if self._is_plain(pairs[i][0]) or not self.tail:
                ids.append(self.stop)
            out[i] = Encoded(ids, len(lead))
        self._verify(pairs, out)
        return out

    def _is_plain(self, prompt: Prompt) -> bool:
        return self.kind == "plain" or prompt == ""

    def _answer_text(self, prompt: Prompt, answer: str) -> str:
        if self._is_plain(prompt):
            return after(plain_text(prompt), answer)
        said, opening = answer.strip() if self.trims else answer, begun(prompt)
        return (after(opening, said) if opening else self.gap + said) + self.tail

    def _texts(self, prompts: Iterable[Prompt]) -> dict[Prompt, tuple[str, tuple[int, ...]] | DataError]:
        """Text and ids of each prompt, rendered once."""
        wanted = set(prompts)
        if len(self._memo) + len(wanted) > _MEMO:
            self._memo.clear()
        found: dict[Prompt, tuple[str, tuple[int, ...]] | DataError] = {}
        new: list[tuple[Prompt, str]] = []
        for prompt in wanted:
            if prompt in self._memo:
                found[prompt] = self._memo[prompt]
                continue
            try:
                new.append((prompt, self._prompt_text(prompt)))
            except DataError as error:
                found[prompt] = error
        for (prompt, text), ids in zip(new, _ids(self.tokenizer, [t for _, t in new]), strict=True):
            lead = (*self.start, *ids) if self._is_plain(prompt) else tuple(ids)
            self._memo[prompt] = found[prompt] = (text, lead or (self.stop,))
        return found

    def _prompt_text(self, prompt: Prompt) -> str:
        turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        if any(self._control.search(m.content) for m in turns):
            raise DataError(
                "the prompt holds a control token of the tokenizer (such as its end-of-turn mark): remove it"
            )
        if self._is_plain(prompt):
            before = f"{self.guard}\n\n" if self.guard and prompt else ""
            return before + plain_text(prompt).rstrip(" ")
        if self.guard:
            turns = guarded(turns, self.guard)
        opening = begun(prompt)
        turns = turns[:-1] if opening else turns
        if self.folds_system:
            turns = folded(turns)
        asked = _render(self.tokenizer, self.chat, turns, ask=True) + self.opens
        return f"{asked}{self.gap}{opening.rstrip(' ')}" if opening else asked

    def _verify(self, pairs: Sequence[tuple[Prompt, str]], out: list[Encoded | str]) -> None:
        rows = [(i, e) for i, e in enumerate(out) if isinstance(e, Encoded)]
        if not rows:
            return
        texts = self.tokenizer.batch_decode(
            [e.answer_ids for _, e in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        normaliser = self.tokenizer.backend_tokenizer.normalizer
        for (i, _), text in zip(rows, texts, strict=True):
            answer = pairs[i][1]
            if self._squash(text) == self._squash(answer):
                continue
            # Some tokenizers lower-case or recompose by design; SentencePiece writes spaces as ▁ while at it.
            if normaliser and self._squash(text) == self._squash(normaliser.normalize_str(answer).replace("▁", " ")):
                continue
            out[i] = (
                "the answer's tokens do not decode back to it: the tokenizer has no tokens for some of its characters"
            )

    def _squash(self, text: str) -> str:
        return ("" if self.loose else " ").join(text.split())


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Ids of each text as it stands: nothing added, nothing cut."""
    if not texts:
        return []
    out = tokenizer(texts, add_special_tokens=False, padding=False, truncation=False, verbose=False)["input_ids"]
    return [list(ids) for ids in out]


def _one_id(value: Any) -> int | None:
    """An id of the tokenizer; its annotations allow for lists, which single tokens never give."""
    return None if value is None else int(value)


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches the texts that the tokenizer reads as control tokens, longest first."""
    added = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    names = sorted({*added, *map(str, tokenizer.all_special_tokens)} - {""}, key=lambda s: (-len(s), s))
    return re.compile("|".join(map(re.escape, names)) or "(?!)")


def _render(tokenizer: PreTrainedTokenizerBase, chat: str, turns: Sequence[Message], *, ask: bool) -> str:
    """The text of `turns`; `ask` adds the generation prompt. Thinking is off, where a template knows of it."""
    from jinja2 import TemplateError

    messages = [{"role": m.role, "content": m.content} for m in turns]
    try:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=chat,
            tokenize=False,
            add_generation_prompt=ask,
            date_string=_DAY,
            enable_thinking=False,
        )
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(m.role for m in turns)
        raise DataError(f"the model's chat template refuses the turns ({roles}): {error}", _PLAIN) from error
    return str(text)


def _marked(tokenizer: PreTrainedTokenizerBase, chat: str, turns: tuple[Message, ...]) -> tuple[str, str]:
    """The whole conversation, and the conversation that asks for its last answer.

    Raises:
        DataError: a mark is missing, repeated or out of order in one of the two.
    """
    full = _render(tokenizer, chat, turns, ask=False)
    asked = _render(tokenizer, chat, turns[:-1], ask=True)
    for text, expected in ((full, _PROBES), (asked, _PROBES[:-1])):
        if [m.group() for m in re.finditer("|".join(_PROBES), text)] != list(expected):
            raise DataError("the model's chat template drops, repeats or reorders turns", _PLAIN)
    return full, asked


def _probe(tokenizer: PreTrainedTokenizerBase, control: re.Pattern[str]) -> dict[str, Any]:
    """What the chat template does with marked turns, as fields of `Template`.

    Raises:
        DataError: it loses, repeats or reorders what it is given; such a template would train on other texts.
    """
    chat = tokenizer.get_chat_template()
    if "strftime_now" in chat:  # a macro of that name hides transformers' clock
        chat = f"{{%- macro strftime_now(format) -%}}{_DAY}{{%- endmacro -%}}{chat}"
    roles = ("system", "user", "assistant", "user", "assistant")
    turns = tuple(Message(r, t) for r, t in zip(roles, _PROBES, strict=True))
    found = None
    with contextlib.suppress(DataError):  # refused, left out, or written into a later turn
        found = _marked(tokenizer, chat, turns)
    folds = found is None
    if folds:
        turns = folded(turns)
    full, asked = found or _marked(tokenizer, chat, turns)
    last = turns[-1].content
    before, _, after = full.partition(last)
    between = before.removeprefix(asked) if before.startswith(asked) else ""
    end = control.search(after)
    spaced = (*turns[:-1], Message("assistant", f"\t{last}\t"))  # no template writes tabs of its own
    return {
        "chat": chat,
        "opens": "" if between.isspace() else between,
        "gap": between if between.isspace() else "",
        "tail": after[: end.end()] if end else "",
        "folds_system": folds,
        "trims": f"\t{last}\t" not in _render(tokenizer, chat, spaced, ask=False),
    }
