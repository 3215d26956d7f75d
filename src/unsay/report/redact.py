"""Hiding the forget texts: they are the sensitive data, and a report travels further than a run folder."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from unicodedata import combining, normalize
from urllib.parse import quote, quote_plus

from .folder import RunFolder, Sample
from .text import HIDDEN

_TOKEN = re.compile(r"[A-Za-z0-9_]+|\S")
_SHORTEST = 4
"""Characters below which a text on its own gives nothing away and would blank words everywhere."""
_COMMON = frozenset({"true", "false", "none", "null", "unknown", "user", "assistant", "system"})
_KEPT_KEYS = frozenset({"id", "role", "source"})

T = TypeVar("T")


class Mask:
    """Replaces every whole occurrence of a set of texts, also when JSON-, HTML- or URL-escaped, whatever the case.

    Args:
        secrets: The texts to hide.
    """

    def __init__(self, secrets: Iterable[str]):
        self._by_token: dict[str, set[str]] = {}
        for secret in secrets:
            bare = secret.strip()
            if len(bare.strip(" .,;:!?\"'")) < _SHORTEST or bare.strip(" .").lower() in _COMMON:
                continue
            forms = {bare, bare.rstrip(".!?"), *_slugs(bare)}
            forms |= {json.dumps(bare)[1:-1], html.escape(bare), quote(bare), quote_plus(bare), repr(bare)[1:-1]}
            for form in forms:
                first = _TOKEN.match(form)
                if first:
                    self._by_token.setdefault(first.group().lower(), set()).add(form.lower())

    def __call__(self, text: str) -> str:
        """`text` with the secrets in it as █."""
        kept: list[str] = []
        done = 0
        for token in _TOKEN.finditer(text):
            start = token.start()
            if start < done:
                continue
            end = self._longest(text, start, token.group().lower())
            if end:
                kept += [text[done:start], HIDDEN]
                done = end
        return "".join([*kept, text[done:]])

    def _longest(self, text: str, start: int, token: str) -> int:
        best = 0
        for form in self._by_token.get(token, ()):
            end = start + len(form)
            if end > best and text[start:end].lower() == form and not _inside_word(text, end):
                best = end
        return best


def _slugs(text: str) -> set[str]:
    """The spellings that names take in ids and paths: ``zoë-quill``, ``zoe_quill``."""
    plain = "".join(c for c in normalize("NFKD", text) if not combining(c))
    dashed = {re.sub(r"[\W_]+", "-", t).strip("-") for t in (text, plain)} | {re.sub(r"\s+", "-", text)}
    return dashed | {d.replace("-", "_") for d in dashed}


def _inside_word(text: str, end: int) -> bool:
    around = text[end - 1 : end + 1]
    return len(around) == 2 and around.isascii() and all(c.isalnum() for c in around)


def redacted(run: RunFolder) -> RunFolder:
    """`run` without the texts of its forget rows.

    Rows of a split called ``forget…``, and rows about the same entities, keep only id, split and scores (an id that
    spells a name becomes a number). Wherever one of those texts or entity names turns up elsewhere (another row's
    answer, a note, the plan), it is hidden too. Paraphrases that a model made up itself cannot be recognised and stay.
    """
    entities = {s.entity for s in run.samples if s.split.startswith("forget") and s.entity}
    hidden = [s for s in run.samples if _sensitive(s, entities)]
    mask = Mask({*entities, *texts(hidden), *file_texts(run)})
    samples = tuple(
        _blank(s, mask, at) if _sensitive(s, entities) else _masked(s, mask) for at, s in enumerate(run.samples, 1)
    )
    return replace(_masked(replace(run, samples=()), mask), samples=samples, dir=run.dir)


def _sensitive(sample: Sample, entities: set[str]) -> bool:
    return sample.split.startswith("forget") or sample.entity in entities


def texts(samples: Iterable[Sample]) -> set[str]:
    """What samples tell: questions, right answers, and those of the model before."""
    # The before model knew the rows, so what it answered is as telling as the target.
    return {t for s in samples for t in (s.prompt, s.target, s.answers.get("before", ""))}


def file_texts(run: RunFolder) -> set[str]:
    """Every text in data/forget.jsonl: the rows that were trained on need not be the ones that were measured."""
    path = run.dir / "data" / "forget.jsonl"
    found: set[str] = set()
    if path.is_file():
        for line in path.read_text("utf-8").split("\n"):
            if line.strip():
                found |= _leaves(json.loads(line))
    return found


def _leaves(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return {leaf for k, v in value.items() if k not in _KEPT_KEYS for leaf in _leaves(v)}
    if isinstance(value, list):
        return {leaf for v in value for leaf in _leaves(v)}
    return set()


def _blank(sample: Sample, mask: Mask, at: int) -> Sample:
    return replace(
        sample,
        id=sample.id if mask(sample.id) == sample.id else f"row-{at}",
        entity=HIDDEN if sample.entity else "",
        prompt=HIDDEN,
        target=HIDDEN,
        answers=dict.fromkeys(sample.answers, HIDDEN),
    )


def _masked(value: T, mask: Mask) -> T:
    """`value` with every string in it masked, through dataclasses, mappings and sequences."""
    result: Any = value
    if isinstance(value, str):
        result = mask(value)
    elif is_dataclass(value) and not isinstance(value, type):
        result = replace(value, **{f.name: _masked(getattr(value, f.name), mask) for f in fields(value)})
    elif isinstance(value, Mapping):
        result = {_masked(k, mask): _masked(v, mask) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        result = type(value)(_masked(v, mask) for v in value)
    return result  # type: ignore[no-any-return]
