"""Measurements in the store: one table per need and model, and one for a sweep that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..data.example import Prompt
from ..metrics.have import AnswerStats, Texts, Tokens
from ..metrics.needs import FirstToken, Generations, GradNorms, Lens, Need, TokenStats
from ..naming import digest
from ..runs.store import Store
from . import first_token, generations, grad_norms, lens, sampled, token_stats
from .texts import Ask, Draw

_Asked = TypeVar("_Asked", Prompt, Draw)
_ARRAYS = ("logp", "rank", "vocab_mean", "vocab_std")
_ENDS = "ends"


def need_key(need: Need, asked: Mapping[str, Sequence[Any]], model: str, precision: str, max_length: int) -> str:
    """Key of the answers to `need`: exactly the texts asked, by whom they are answered, and how.

    Split names and roles stay out, so that splits of the same rows share their measurements.

    Args:
        need: What is asked for.
        asked: What it asks, by example id.
        model: Fingerprint of the model, tokenizer and template included.
        precision: Of the weights, resolved.
        max_length: Where texts are cut.
    """
    how: list[object] = ["token-stats", token_stats.VERSION]
    if isinstance(need, TokenStats):
        how += ["ends"] if need.ends else []
    elif isinstance(need, Generations):
        how = ["generations", generations.VERSION, need.max_new_tokens]
        how += [sampled.VERSION, need.sampling] if need.sampling else []
    elif isinstance(need, GradNorms):
        how = ["gradients", grad_norms.VERSION]
    elif isinstance(need, Lens):
        how = ["layers", lens.VERSION]
    elif isinstance(need, FirstToken):
        how = ["first token", first_token.VERSION]
    return digest([how, model, precision, max_length, sorted(asked.items())])


def put_tokens(store: Store, key: str, found: Tokens, cut: int) -> None:
    """Keep the statistics of each example's answers, and how many of them were cut at the length limit."""
    flat = [(row, answer) for row, answers in found.items() for answer in answers]
    columns: dict[str, list[Any]] = {"id": [row for row, _ in flat], "text": [answer.text for _, answer in flat]}
    store.put_table(key, columns | arrays_of([answer for _, answer in flat]) | {"cut": [cut] * len(flat)})


def get_tokens(store: Store, key: str) -> tuple[Tokens, int] | None:
    """What `put_tokens` kept, or None."""
    table = store.get_table(key)
    if table is None:
        return None
    found: dict[str, list[AnswerStats]] = {}
    for row, answer in zip(table["id"], answers_of(table), strict=True):
        found.setdefault(row, []).append(answer)
    return {row: tuple(answers) for row, answers in found.items()}, max(table["cut"])


def put_texts(store: Store, key: str, found: Texts) -> None:
    """Keep the generated texts of each example."""
    flat = [(row, text) for row, texts in found.items() for text in texts]
    store.put_table(key, {"id": [row for row, _ in flat], "text": [text for _, text in flat]})


def get_texts(store: Store, key: str) -> Texts | None:
    """What `put_texts` kept, or None."""
    table = store.get_table(key)
    if table is None:
        return None
    found: dict[str, list[str]] = {}
    for row, text in zip(table["id"], table["text"], strict=True):
        found.setdefault(row, []).append(text)
    return {row: tuple(texts) for row, texts in found.items()}


def put_partial_tokens(store: Store, key: str, found: Mapping[Ask, AnswerStats]) -> None:
    """Keep what an interrupted sweep has measured so far, by text."""
    columns: dict[str, list[Any]] = {"id": [ask_name(ask) for ask in found], "text": [ask.answer for ask in found]}
    store.put_table(key, columns | arrays_of(list(found.values())))


def get_partial_tokens(store: Store, key: str, asks: Sequence[Ask]) -> dict[Ask, AnswerStats]:
    """What an earlier, interrupted sweep over `asks` has measured."""
    table = store.get_table(key)
    if table is None:
        return {}
    known = dict(zip(table["id"], answers_of(table), strict=True))
    return {ask: known[name] for ask in asks if (name := ask_name(ask)) in known}


def put_partial_ids(store: Store, key: str, found: Mapping[Any, tuple[int, ...]]) -> None:
    """Keep the continuations that an interrupted sweep has finished."""
    columns: dict[str, list[Any]] = {
        "id": [digest(p) for p in found],
        "ids": [np.array(ids, np.int64) for ids in found.values()],
    }
    store.put_table(key, columns)


def get_partial_ids(store: Store, key: str, prompts: Sequence[_Asked]) -> dict[_Asked, tuple[int, ...]]:
    """What an earlier, interrupted sweep over `prompts` (or draws) has finished."""
    table = store.get_table(key)
    if table is None:
        return {}
    known = dict(zip(table["id"], table["ids"], strict=True))
    return {p: tuple(known[name].tolist()) for p in prompts if (name := digest(p)) in known}


def ask_name(ask: Ask) -> str:
    """Content hash of one text."""
    return digest(list(ask))


def arrays_of(answers: Sequence[AnswerStats]) -> dict[str, list[Any]]:
    """The columns of answers, texts aside; ``ends`` where there are any."""
    names = (*_ARRAYS, *([_ENDS] if any(len(a.ends) for a in answers) else []))
    return {name: [getattr(a, name) for a in answers] for name in names}


def answers_of(table: Mapping[str, Sequence[Any]]) -> list[AnswerStats]:
    """The answers of a table with the columns of `arrays_of` and ``text``."""
    columns = (table[name] for name in (*_ARRAYS, "text", _ENDS) if name in table)
    return [AnswerStats(*row) for row in zip(*columns, strict=True)]
