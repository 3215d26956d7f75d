"""The misses of one model: one sweep over the distinct texts of all needs, kept as it goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.have import Answers, AnswerStats
from ..metrics.needs import Generations, GradNorms, Lens, Need, TokenStats
from ..models.lm import LM
from ..naming import digest
from ..runs.run import Run
from ..runs.store import Store
from . import cache, probes
from .effort import Effort
from .generations import Decoder, Greedy, first
from .sampled import Sampled
from .texts import Ask
from .token_stats import Sweep, with_ends
from .working import Precision

_KEEP_SECONDS = 30.0
"""At most so much measuring is lost to a kill."""


class Collector:
    """Measures what the store lacks and puts it there.

    Args:
        store: Where to.
        run: Whose progress, notes and signals to use; None shows nothing and is not stopped.
        max_length: Tokens of prompt + answer.
        micro_tokens: Tokens of one forward.
    """

    def __init__(self, store: Store, run: Run | None, max_length: int, micro_tokens: int) -> None:
        self._store = store
        self._run = run
        self._max_length = max_length
        self._micro_tokens = micro_tokens

    def collect(
        self,
        tag: str,
        lm: LM,
        precision: Precision,
        asked: Mapping[Need, Mapping[str, Sequence[Any]]],
        keys: Mapping[Need, str],
    ) -> tuple[dict[Need, Answers], Effort]:
        """Answers to the needs in `asked`, and what they took.

        Args:
            tag: For the progress bars.
            lm: The model.
            precision: Of its weights.
            asked: Texts by example id, by need.
            keys: Where the store keeps the answers to each need.

        Raises:
            DataError: a text cannot be encoded.
            Interrupted: a signal asked the run to stop; what was measured is kept.
        """
        scored = {n: texts for n, texts in asked.items() if isinstance(n, TokenStats)}
        written = _alike({n: texts for n, texts in asked.items() if isinstance(n, Generations)})
        # Everything is planned before anything runs: bad texts show at once.
        scoring = self._scoring(lm, scored, digest(["partial", *(keys[n] for n in scored)])) if scored else None
        writing = [self._writing(lm, group, digest(["partial", *(keys[n] for n in group)])) for group in written]
        probing = [self._probing(lm, asked, kind, keys) for kind in probes.KINDS]
        answers: dict[Need, Answers] = {}
        tokens, sweeps = 0, [*([scoring.left] if scoring else []), *(probe.left for probe in probing if probe)]
        if scoring:
            tokens += self._run_all(f"score {tag}", "tokens", scoring, precision)
            for need, texts in scored.items():
                stats = {ask: scoring.done[ask] for asks in texts.values() for ask in asks}
                stats = with_ends(lm, stats, self._max_length) if need.ends else stats
                found = {row: tuple(stats[ask] for ask in asks) for row, asks in texts.items()}
                cut = sum(ask in scoring.sweep.cut for asks in texts.values() for ask in asks)
                cache.put_tokens(self._store, keys[need], found, cut)
                self.note_cut(need, cut)
                answers[need] = found
        for group, work in zip(written, writing, strict=True):
            tokens += self._run_all(f"ask {tag}", "answers", work, precision)
            ids = work.done
            for asking, prompts in group.items():
                limit = asking.max_new_tokens
                kept = {row: tuple(first(lm, ids[p], limit) for p in ps) for row, ps in prompts.items()}
                cache.put_texts(self._store, keys[asking], kept)
                answers[asking] = kept
        for probe in (p for p in probing if p):
            tokens += self._run_all(f"{probes.KINDS[type(probe.needs[0])].label} {tag}", "tokens", probe, precision)
            for need in probe.needs:
                entries = {row: tuple(probe.done[ask] for ask in asks) for row, asks in asked[need].items()}
                cut = sum(ask in probe.sweep.cut for asks in asked[need].values() for ask in asks)
                probes.put(self._store, keys[need], need, entries, cut)
                self.note_cut(need, cut)
                answers[need] = entries
        return answers, Effort.of(tokens, sweeps, [work.left for work in writing])

    def note_cut(self, need: Need, cut: int) -> None:
        """Say that answers were longer than the limit."""
        if cut and self._run:
            what = need.answer if isinstance(need, (TokenStats, GradNorms, Lens)) else "answer"
            self._run.note(
                f"{cut} texts of {need.split} ({what}) exceed {self._max_length} tokens and were scored up to there"
            )

    def _scoring(self, lm: LM, needs: Mapping[TokenStats, Mapping[str, Sequence[Ask]]], key: str) -> _Scoring:
        asks = list(dict.fromkeys(ask for texts in needs.values() for row in texts.values() for ask in row))
        done = cache.get_partial_tokens(self._store, key, asks)
        sweep = Sweep(lm, asks, skip=done, max_length=self._max_length, micro_tokens=self._micro_tokens)
        return _Scoring(
            sweep,
            [ask for ask in asks if ask not in done],
            done,
            lambda: cache.put_partial_tokens(self._store, key, done),
        )

    def _writing(self, lm: LM, needs: Mapping[Generations, Mapping[str, Sequence[Any]]], key: str) -> _Writing:
        limits: dict[Any, int] = {}
        for need, texts in needs.items():
            for prompt in (p for row in texts.values() for p in row):
                limits[prompt] = max(limits.get(prompt, 0), need.max_new_tokens)
        done = cache.get_partial_ids(self._store, key, list(limits))
        left = {p: limit for p, limit in limits.items() if p not in done}
        sampling = next(iter(needs)).sampling
        if sampling:
            limit = max(limits.values())
            decoder: Decoder[Any] = Sampled(lm, left, sampling, limit, max_length=self._max_length)
        else:
            decoder = Greedy(lm, left, max_length=self._max_length)
        return _Writing(decoder, list(left), done, lambda: cache.put_partial_ids(self._store, key, done))

    def _probing(
        self, lm: LM, asked: Mapping[Need, Mapping[str, Sequence[Any]]], kind: type[Any], keys: Mapping[Need, str]
    ) -> _Probing | None:
        needs: list[Any] = [need for need in asked if isinstance(need, kind)]
        if not needs:
            return None
        asks = list(dict.fromkeys(ask for need in needs for row in asked[need].values() for ask in row))
        key = digest(["partial", *(keys[n] for n in needs)])
        done = probes.get_partial(self._store, key, needs[0], asks)
        limits = {"max_length": self._max_length, "micro_tokens": self._micro_tokens}
        sweep = probes.plan(needs[0], lm, asks, skip=done, **limits)
        left = [ask for ask in asks if ask not in done]
        return _Probing(sweep, left, needs, done, lambda: probes.put_partial(self._store, key, needs[0], done))

    def _run_all(self, label: str, unit: str, work: _Scoring | _Writing | _Probing, precision: Precision) -> int:
        """Run to the end, keeping what is done now and then, and when something stops it. Returns tokens."""
        tokens, kept = 0, time.monotonic()
        bar = self._run.progress(label, work.total, unit) if self._run else contextlib.nullcontext()
        with bar as task:
            try:
                for spent, advance in work.steps(precision):
                    tokens += spent
                    if task:
                        task.advance(advance)
                    if self._run:
                        self._run.check_stop()
                    if time.monotonic() - kept > _KEEP_SECONDS:
                        work.keep()
                        kept = time.monotonic()
            except BaseException:
                work.keep()
                raise
        return tokens


def _alike(
    needs: Mapping[Generations, Mapping[str, Sequence[Any]]],
) -> list[dict[Generations, Mapping[str, Sequence[Any]]]]:
    """Needs that one decoder answers: all greedy ones, and sampled ones that are sampled alike.

    A drawn text that is too short to be seen is drawn anew, so the beginning of a longer one need not be it.
    """
    groups: dict[object, dict[Generations, Mapping[str, Sequence[Any]]]] = {}
    for need, texts in needs.items():
        how = (need.sampling, need.max_new_tokens) if need.sampling else None
        groups.setdefault(how, {})[need] = texts
    return list(groups.values())


@dataclass
class _Scoring:
    """A sweep of token statistics in progress."""

    sweep: Sweep
    left: list[Ask]
    done: dict[Ask, AnswerStats]
    keep: Callable[[], None]

    @property
    def total(self) -> int:
        return self.sweep.tokens

    def steps(self, precision: Precision) -> Iterator[tuple[int, int]]:
        """Tokens spent and progress made, batch by batch."""
        for batch in self.sweep.run(precision):
            self.done |= batch.stats
            yield batch.tokens, batch.tokens


@dataclass
class _Writing:
    """Answers in progress."""

    decoder: Decoder[Any]
    left: list[Any]
    done: dict[Any, tuple[int, ...]]
    keep: Callable[[], None]

    @property
    def total(self) -> int:
        return self.decoder.prompts

    def steps(self, precision: Precision) -> Iterator[tuple[int, int]]:
        """Tokens spent and progress made, token by token."""
        for step in self.decoder.run(precision):
            self.done |= step.ids
            yield step.tokens, len(step.ids)


@dataclass
class _Probing:
    """A sweep of gradient norms or layers in progress."""

    sweep: probes.Probing
    left: list[Ask]
    needs: list[Any]
    done: dict[Ask, Any]
    keep: Callable[[], None]

    @property
    def total(self) -> int:
        return self.sweep.tokens

    def steps(self, precision: Precision) -> Iterator[tuple[int, int]]:
        """Tokens spent and progress made, text by text."""
        for found, tokens in self.sweep.run(precision):
            self.done |= found
            yield tokens, tokens
