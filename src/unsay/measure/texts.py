"""From a need to the distinct texts it is about, and back: two needs that ask the same text share its measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ..data.example import Example, Message, Prompt
from ..data.template import Encoded
from ..errors import DataError
from ..metrics.needs import FirstToken, Generations, GradNorms, Judged, Lens, MixedStats, Need, TokenStats
from ..models.lm import LM


class Ask(NamedTuple):
    """One answer to be scored after one prompt."""

    prompt: Prompt
    answer: str


class Draw(NamedTuple):
    """One continuation to be sampled."""

    prompt: Prompt
    run: int


def prompts_of(row: Example, kind: str) -> tuple[Prompt, ...]:
    """The prompts of `row` under `kind`: ``prompt`` itself, or each text of an alternative (paraphrased_question).

    In a conversation the alternative replaces the last user turn.
    """
    if kind == "prompt":
        return (row.prompt,)
    return tuple(_reworded(row.prompt, text) for text in row.answers(kind))


def asks_of(
    need: TokenStats | GradNorms | Lens | FirstToken | MixedStats, rows: Sequence[Example]
) -> dict[str, tuple[Ask, ...]]:
    """What has to be scored for `need`, by example id; rows without the alternative it names are left out.

    Several prompts and several answers give every pair, prompts outermost. `FirstToken` scores no answer; its form
    stands there.
    """
    found = {}
    for row in rows:
        answers = (need.form,) if isinstance(need, FirstToken) else row.answers(need.answer)
        asks = tuple(Ask(p, a) for p in prompts_of(row, need.prompt) for a in answers)
        if asks:
            found[row.id] = asks
    return found


def questions_of(need: Generations, rows: Sequence[Example]) -> dict[str, tuple[Prompt | Draw, ...]]:
    """What has to be continued for `need`, by example id; rows without the alternative it names are left out.

    Prompts; with sampling a `Draw` for each of them and each run, runs outermost.
    """
    found: dict[str, tuple[Prompt | Draw, ...]] = {}
    for row in rows:
        prompts = prompts_of(row, need.prompt)
        if need.sampling:
            found[row.id] = tuple(Draw(p, run) for run in range(need.sampling.runs) for p in prompts)
        else:
            found[row.id] = prompts
    return {key: asked for key, asked in found.items() if asked}


def prompts_behind(need: Judged, row: Example) -> tuple[Prompt, ...]:
    """The prompt behind each generation that `need` judges."""
    return prompts_of(row, need.prompt) * (need.sampling.runs if need.sampling else 1)


def encoded(lm: LM, asks: Sequence[Ask], max_length: int) -> tuple[list[Encoded], frozenset[Ask]]:
    """The texts as tokens, at most `max_length` of them, and which are longer.

    Raises:
        DataError: a text cannot be encoded, or its prompt leaves no room for the answer.
    """
    whole = lm.template.encode_many(asks)
    full = sum(e.answer_start >= max_length for e in whole)
    if full:
        raise DataError(
            f"{full} of {len(whole)} prompts leave no room for an answer in {max_length} tokens",
            "shorten the prompts or raise data.max_length",
        )
    cut = frozenset(a for a, e in zip(asks, whole, strict=True) if len(e) > max_length)
    return [e.cut(max_length) for e in whole], cut


def spelled(lm: LM, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of tokens, control tokens left out, and how many characters of it there are up to each token's end.

    A token may hold part of a character only, so that the counts are those of all the tokens up to it.
    """
    ends = [len(_decoded(lm, ids[: i + 1])) for i in range(len(ids))]
    return _decoded(lm, ids), ends


def asked_of(need: Need) -> Need:
    """The same need addressed to whichever model is at hand: what is stored does not depend on its role."""
    return replace(need, model="subject")


def _decoded(lm: LM, ids: Sequence[int]) -> str:
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _reworded(prompt: Prompt, text: str) -> Prompt:
    if isinstance(prompt, str):
        return text
    last = max((i for i, turn in enumerate(prompt) if turn.role == "user"), default=None)
    if last is None:
        return (*prompt, Message("user", text))
    return (*prompt[:last], Message("user", text), *prompt[last + 1 :])
