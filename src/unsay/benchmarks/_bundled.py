"""The bundled rows: fictional persons with related knowledge, and world facts. Data card: docs/people.md."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ..data.example import Example
from ..data.novel import SPANS
from ..naming import kebab

KINDS = ("k1", "k2", "k3")
"""k1 states a fact, k2 is a different fact from which it follows, k3 is unrelated to it."""


@cache
def persons() -> Mapping[str, Mapping[str, tuple[Example, ...]]]:
    """Person → kind of knowledge → ten rows, one an attribute, in the order of the file.

    Ids read ``odrin-vaskelly.home-city.k1``, so that they stay the same when a text is corrected.
    """
    found: dict[str, dict[str, list[Example]]] = {}
    for row in _lines("persons.jsonl"):
        kinds = found.setdefault(row["person"], {kind: [] for kind in KINDS})
        for kind in KINDS:
            kinds[kind].append(_knowledge(row, kind))
    return {person: {kind: tuple(rows) for kind, rows in kinds.items()} for person, kinds in found.items()}


@cache
def world() -> tuple[Example, ...]:
    """Facts that a small language model knows, each with three wrong options. They name no entity: each is its own."""
    return tuple(
        Example(
            prompt=row["question"],
            answer=row["answer"],
            id=f"world.{row['key']}",
            alternatives={"perturbed": tuple(row["perturbed_answer"])},
            meta={"source": "world"},
        )
        for row in _lines("world.jsonl")
    )


def _knowledge(row: Mapping[str, Any], kind: str) -> Example:
    said = row[kind]
    others: dict[str, tuple[str, ...]] = {}
    if kind == "k1":
        others = {
            "paraphrased": (said["paraphrased_answer"],),
            "perturbed": tuple(said["perturbed_answer"]),
            "paraphrased_question": (said["paraphrased_question"],),
        }
    return Example(
        prompt=said["question"],
        answer=said["answer"],
        id=f"{_slug(row['person'])}.{_slug(row['attribute'])}.{kind}",
        alternatives=others,
        meta={
            "entity": row["person"],
            "attribute": row["attribute"],
            "knowledge": kind,
            "source": "people",
            **({SPANS: row["value"]} if kind == "k1" else {}),
        },
    )


def _slug(text: str) -> str:
    return kebab(text.replace(" ", "-"))


def _lines(name: str) -> list[dict[str, Any]]:
    text = files(__package__).joinpath("_people", name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
