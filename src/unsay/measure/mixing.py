"""Statistics under a mix of two models' weights that knows the rows to keep nearly as well as the first one does (UWC).

θ(s) = θ0 + s·(θu − θ0) with the largest s ≤ 1 such that ES_keep(θ(s)) ≥ κ·ES_keep(θ0), ES being the mean extraction
strength: methods that destroy more are moved back further before they are compared. Teacher forcing alone; at most
about sixteen sweeps over the rows to keep, two where θu itself keeps enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics.extraction_strength import strength
from ..metrics.have import AnswerStats, Mixed, Mixes
from ..metrics.needs import MixedStats
from ..models.line import Line
from ..models.lm import LM
from ..models.search import largest_share
from ..naming import digest
from ..runs.run import Run
from ..runs.store import Store
from . import cache, token_stats
from .texts import Ask
from .token_stats import Sweep

VERSION = 2
"""Part of every store key; raise it when the same models and texts would come out as other numbers."""

Asked = Mapping[str, Sequence[Ask]]


class Mixer:
    """Answers one `MixedStats` need.

    Args:
        need: What is asked.
        forget: Texts by example id of `need.split`.
        kept: Texts by example id of `need.kept`.
        precision: Of the weights, resolved.
        max_length: Tokens of prompt + answer.
        micro_tokens: Tokens of one forward.
        run: Whose signals to heed; None is not stopped.
    """

    def __init__(
        self,
        need: MixedStats,
        forget: Asked,
        kept: Asked,
        *,
        precision: str,
        max_length: int,
        micro_tokens: int,
        run: Run | None,
    ) -> None:
        self._need, self._forget, self._kept, self._run = need, forget, kept, run
        self._precision, self._max_length, self._micro_tokens = precision, max_length, micro_tokens
        self.tokens = 0
        """That went through the mixes."""

    def key(self, before: str, after: str) -> str:
        """Where the store keeps the answer.

        Args:
            before: Fingerprint of the model that is mixed in.
            after: Fingerprint of the model under test.
        """
        how = [VERSION, token_stats.VERSION, self._need.keep, self._precision, self._max_length]
        return digest(["mixed", how, before, after, sorted(self._forget.items()), sorted(self._kept.items())])

    def answer(self, before: LM, after: LM) -> Mixes:
        """The answer; three copies of the weights are in memory meanwhile.

        Raises:
            ModelError: the two are not two states of one model (a patched model leaves no line to walk).
            Interrupted: a signal asked the run to stop.
        """
        line = Line(before, after)
        seen: dict[float, dict[Ask, AnswerStats]] = {}

        def known(s: float) -> float:
            seen[s] = self._sweep(line.at(s), self._kept)
            return _strength(self._kept, seen[s])

        share = largest_share(known, self._need.keep)
        stats = {**seen[share], **self._sweep(line.at(share), self._forget)}
        rows = {**self._kept, **self._forget}
        return {i: tuple(Mixed(stats[ask], share) for ask in asks) for i, asks in rows.items()}

    def unmixed(self, lm: LM) -> Mixes:
        """The answer where both models are the same one."""
        rows = {**self._kept, **self._forget}
        stats = self._sweep(lm, rows)
        return {i: tuple(Mixed(stats[ask], 1.0) for ask in asks) for i, asks in rows.items()}

    def _sweep(self, lm: LM, asked: Asked) -> dict[Ask, AnswerStats]:
        asks = list(dict.fromkeys(ask for of in asked.values() for ask in of))
        found: dict[Ask, AnswerStats] = {}
        sweep = Sweep(lm, asks, max_length=self._max_length, micro_tokens=self._micro_tokens)
        for batch in sweep.run(self._precision):
            found |= batch.stats
            self.tokens += batch.tokens
            if self._run:
                self._run.check_stop()
        return found


def put(store: Store, key: str, found: Mixes) -> None:
    """Keep an answer."""
    flat = [(row, one) for row, given in found.items() for one in given]
    columns: dict[str, list[Any]] = {"id": [row for row, _ in flat], "share": [one.share for _, one in flat]}
    stats = [one.stats for _, one in flat]
    store.put_table(key, columns | {"text": [a.text for a in stats]} | cache.arrays_of(stats))


def get(store: Store, key: str) -> Mixes | None:
    """What `put` kept, or None."""
    table = store.get_table(key)
    if table is None:
        return None
    found: dict[str, list[Mixed]] = {}
    for row, share, stats in zip(table["id"], table["share"], cache.answers_of(table), strict=True):
        found.setdefault(row, []).append(Mixed(stats, share))
    return {row: tuple(given) for row, given in found.items()}


def _strength(asked: Asked, stats: Mapping[Ask, AnswerStats]) -> float:
    """Mean over rows; NaN where a log-probability is, since all ranks of a broken model are 0."""
    if any(np.isnan(a.logp).any() for a in stats.values()):
        return math.nan
    return float(np.mean([np.mean([strength(stats[ask].rank) for ask in asks]) for asks in asked.values()]))
