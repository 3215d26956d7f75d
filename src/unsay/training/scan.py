"""Numbers of many rows from one model, without gradient: for reference caches, token weights and stopping rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.batch import groups
from ..data.template import Encoded
from ..errors import MethodError
from .batch import Counts, MicroBatch, Row
from .forward import Forward
from .row_loss import is_best
from .step import View

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_TOKENS = 4096
"""Padded tokens per forward, which keeps no activations."""
_SAMPLE = 64
"""Rows watched of a role that is watched by a sample."""


def scan(
    model: nn.Module,
    rows: Sequence[Row],
    pad_id: int,
    read: Callable[[View], Tensor],
    run: Run | None = None,
    label: str = "",
) -> list[NDArray[np.float32]]:
    """What `read` makes of every answer token, by length-sorted batches.

    Args:
        model: In any precision; its mode is left alone.
        rows: In any order.
        pad_id: Fills the batches.
        read: View → [A], or [A, n] for several numbers a token.
        run: For progress and signals; None shows no progress and cannot be stopped.
        label: For the progress bar.

    Returns:
        [answer tokens] or [answer tokens, n] float32 for each row, in the order of `rows`.
    """
    device = next(model.parameters()).device
    found: dict[int, NDArray[np.float32]] = {}
    with torch.no_grad(), run.progress(label, len(rows), "rows") if run else nullcontext() as bar:
        for group in groups([row.length for row in rows], _TOKENS):
            if run:
                run.check_stop()
            members = [rows[i] for i in group]
            batch = MicroBatch.of({"rows": members}, pad_id).to(device)
            values = read(View(Forward(model, batch, grad=False), "rows", Counts())).float().cpu().numpy()
            ends = np.cumsum([row.answer_tokens for row in members])
            for i, own in zip(group, np.split(values, ends[:-1]), strict=True):
                found[i] = own
            if bar:
                bar.advance(len(members))
    return [found[i] for i in range(len(rows))]


def answer_logps(view: View) -> Tensor:
    """[A] log-probabilities of the answer tokens, for `scan`."""
    return view.token_logps[view.mask]


def answer_hits(view: View) -> Tensor:
    """[A] 1 where the model's first choice is the answer token, for `scan`."""
    return view.token_values(is_best(view.targets))


def strength(hits: NDArray[np.float32]) -> float:
    """Extraction strength: length of the longest end of an answer that is all the model's choice, over its length.

    Args:
        hits: `answer_hits` of one row.
    """
    misses = np.flatnonzero(hits[::-1] == 0)
    return float(misses[0] if len(misses) else len(hits)) / len(hits)


class ModelWatch:
    """Answers the questions of combiners and stopping rules about a model under training.

    Args:
        model: Under training; asked at its present weights.
        rows: By role. ``retain`` and ``utility`` are watched by a fixed sample; ``utility`` may be missing, and is
            then ``retain``.
        pad_id: Fills the batches.
        seed: Of the samples.
    """

    def __init__(self, model: nn.Module, rows: Mapping[str, Sequence[Row]], pad_id: int, seed: int):
        self._model, self._pad_id, self._seed = model, pad_id, seed
        self._rows = {role: self._sample(role, members) for role, members in rows.items()}

    def nll(self, role: str) -> float:
        """See `combiners._combiner.Watch`."""
        found = self._scan(role, answer_logps)
        return -float(sum(v.sum(dtype=np.float64) for v in found)) / sum(len(v) for v in found)

    def extraction_strength(self, role: str) -> list[float]:
        """See `strength`."""
        return [strength(hits) for hits in self._scan(role, answer_hits)]

    def _scan(self, role: str, read: Callable[[View], Tensor]) -> list[NDArray[np.float32]]:
        rows = self._rows.get(role) or (self._rows.get("retain") if role == "utility" else None)
        if not rows:
            raise MethodError(f"there are no {role} rows to watch", "give retain=, or leave the rule out")
        return scan(self._model, rows, self._pad_id, read)

    def _sample(self, role: str, members: Sequence[Row]) -> list[Row]:
        if role == "forget" or len(members) <= _SAMPLE:
            return list(members)
        return Random(self._seed).sample(list(members), _SAMPLE)


class TokenScorer:
    """Likelihoods for token weights; see `tokens._token_weights.Scorer`.

    Args:
        lm: The model before unlearning.
        model: What runs the forward: the same weights, maybe in a working precision.
        run: Progress, signals.
    """

    def __init__(self, lm: LM, model: nn.Module, run: Run):
        self._lm, self._model, self._run = lm, model, run

    @property
    def ordinary_tokens(self) -> NDArray[np.int64]:
        """Ids of the vocabulary without special tokens."""
        tokenizer = self._lm.tokenizer
        return np.setdiff1d(np.arange(len(tokenizer)), np.array(sorted(special_ids(self._lm))))

    def nll(self, rows: Sequence[Encoded], model: str = "") -> list[NDArray[np.float32]]:
        """−log p of every answer token.

        Raises:
            MethodError: the model at path `model` has another vocabulary.
        """
        subject = self._model
        if model:
            from ..models.lm import LM

            other = LM.load(model)
            if other.tokenizer.get_vocab() != self._lm.tokenizer.get_vocab():
                raise MethodError(
                    f"{model} has another vocabulary than {self._lm.origin}", "give a model of its family"
                )
            subject = other.model.to(self._lm.device)
        members = [Row(tokens, str(i)) for i, tokens in enumerate(rows)]
        pad_id = self._lm.template.pad_id
        return [-logps for logps in scan(subject, members, pad_id, answer_logps, self._run, "token weights")]


def special_ids(lm: LM) -> set[int]:
    """Ids of special and added control tokens."""
    added = getattr(lm.tokenizer, "added_tokens_decoder", {})
    return set(lm.tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
