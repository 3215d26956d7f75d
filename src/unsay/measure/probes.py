"""What is measured once per text beside token statistics: how each such need is swept, stored and read back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..metrics.have import FirstChoice, FirstChoices, Layers, LayerStats, Norms
from ..metrics.needs import FirstToken, GradNorms, Lens
from ..models.lm import LM
from ..runs.store import Store
from . import first_token, grad_norms, lens
from .cache import ask_name
from .texts import Ask
from .working import Precision

Probe = GradNorms | Lens | FirstToken


class Probing(Protocol):
    """A sweep over texts, planned before it runs."""

    tokens: int
    """Tokens that will go through the model."""
    cut: frozenset[Ask]
    """Texts that are longer than the limit."""

    def run(self, precision: Precision) -> Iterator[tuple[dict[Ask, Any], int]]:
        """What a few texts gave, and the tokens spent on them; every text appears once."""
        ...


@dataclass(frozen=True)
class Kind:
    """How one type of need is answered and stored."""

    label: str
    """For progress bars."""
    sweep: Callable[..., Probing]
    """(lm, asks, skip=, max_length=, micro_tokens=)"""
    columns: Callable[[Sequence[Any]], dict[str, list[Any]]]
    """Entries → columns of a table."""
    entries: Callable[[Mapping[str, Sequence[Any]]], list[Any]]
    """The way back."""


def _layer_columns(found: Sequence[LayerStats]) -> dict[str, list[Any]]:
    return {
        "logp": [np.asarray(f.logp, np.float32) for f in found],
        "rank": [np.asarray(f.rank, np.int32) for f in found],
    }


def _layer_entries(table: Mapping[str, Sequence[Any]]) -> list[LayerStats]:
    return [LayerStats(logp, rank) for logp, rank in zip(table["logp"], table["rank"], strict=True)]


KINDS: Mapping[type, Kind] = {
    GradNorms: Kind(
        "gradients",
        grad_norms.GradNormSweep,
        lambda found: {"norm": [float(x) for x in found]},
        lambda table: list(table["norm"]),
    ),
    Lens: Kind("layers", lens.LensSweep, _layer_columns, _layer_entries),
    FirstToken: Kind(
        "first tokens",
        first_token.FirstTokenSweep,
        lambda found: {name: [getattr(f, name) for f in found] for name in ("logp", "rank", "why")},
        lambda table: [FirstChoice(*row) for row in zip(table["logp"], table["rank"], table["why"], strict=True)],
    ),
}


def plan(
    need: Probe, lm: LM, asks: Sequence[Ask], *, skip: Collection[Ask], max_length: int, micro_tokens: int
) -> Probing:
    """The sweep that answers a need of `need`'s type.

    Raises:
        DataError: a text cannot be encoded, or its prompt leaves no room for the answer.
    """
    return KINDS[type(need)].sweep(lm, asks, skip=skip, max_length=max_length, micro_tokens=micro_tokens)


def put(store: Store, key: str, need: Probe, found: Norms | Layers | FirstChoices, cut: int) -> None:
    """Keep the entries of each example, and how many of its texts were cut at the length limit."""
    flat: list[tuple[str, Any]] = [(row, entry) for row, entries in found.items() for entry in entries]
    columns: dict[str, list[Any]] = {"id": [row for row, _ in flat], "cut": [cut] * len(flat)}
    store.put_table(key, columns | KINDS[type(need)].columns([entry for _, entry in flat]))


def get(store: Store, key: str, need: Probe) -> tuple[Norms | Layers | FirstChoices, int] | None:
    """What `put` kept, or None."""
    table = store.get_table(key)
    if table is None:
        return None
    found: dict[str, list[Any]] = {}
    for row, entry in zip(table["id"], KINDS[type(need)].entries(table), strict=True):
        found.setdefault(row, []).append(entry)
    return {row: tuple(entries) for row, entries in found.items()}, max(table["cut"], default=0)


def put_partial(store: Store, key: str, need: Probe, found: Mapping[Ask, Any]) -> None:
    """Keep what an interrupted sweep has measured so far, by text."""
    columns: dict[str, list[Any]] = {"id": [ask_name(ask) for ask in found]}
    store.put_table(key, columns | KINDS[type(need)].columns(list(found.values())))


def get_partial(store: Store, key: str, need: Probe, asks: Sequence[Ask]) -> dict[Ask, Any]:
    """What an earlier, interrupted sweep over `asks` has measured."""
    table = store.get_table(key)
    if table is None:
        return {}
    known = dict(zip(table["id"], KINDS[type(need)].entries(table), strict=True))
    return {ask: known[name] for ask in asks if (name := ask_name(ask)) in known}
