"""Teacher-forced statistics of answer tokens: one forward per distinct text, whatever number of metrics reads it.

All answers to one prompt are scored in one forward over their token tree (`tree.py`); what all prompts begin with is
read once (`prefix.py`); trees of similar size share a batch; the head runs on the positions that predict an answer
token, and reduces the vocabulary there (`vocabulary.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.batch import groups, padding
from ..data.template import Encoded
from ..metrics.have import AnswerStats
from ..models.lm import LM
from ..models.patches import configs
from .prefix import Prefix, common, hides, plain_cache
from .texts import Ask, encoded, spelled
from .tree import Tree, grow
from .vocabulary import Positions, vocabulary_stats
from .working import Working, resolve_precision, working

VERSION = 1
"""Part of every store key; raise it when the same model and texts would come out as other numbers."""

MICRO_TOKENS = 2048
_COPIES = 8
"""Keys and values of a prefix are copied for each row: at most so many times the budget's tokens."""

_AGREED: set[tuple[Any, ...]] = set()


@dataclass(frozen=True)
class Scored:
    """What one batch gave."""

    stats: dict[Ask, AnswerStats]
    tokens: int
    """Real tokens that went through the model for it."""


class Sweep:
    """The forwards that score a list of texts, planned before the first one runs.

    Args:
        lm: Whose tokenizer and template encode the texts. Its model is not touched before `run`.
        asks: What to score; repeats are scored once.
        skip: Those of them that have been scored before.
        max_length: Tokens of prompt + answer; a longer answer is scored up to there and listed in `cut`.
        micro_tokens: Tokens (padding included) of one forward; the memory knob.

    Attributes:
        tokens: Real tokens that will go through the model, if it takes token trees and continues from a prefix.
        cut: Texts whose answers are longer than the limit.

    Raises:
        DataError: a text cannot be encoded, or its prompt leaves no room for the answer.
    """

    def __init__(
        self,
        lm: LM,
        asks: Sequence[Ask],
        *,
        skip: Collection[Ask] = (),
        max_length: int = 1024,
        micro_tokens: int = MICRO_TOKENS,
    ) -> None:
        self._lm = lm
        self._micro_tokens = micro_tokens
        every = list(dict.fromkeys(asks))
        whole, self.cut = encoded(lm, every, max_length)
        left = [(a, e) for a, e in zip(every, whole, strict=True) if a not in skip]
        self._asks, self._rows = [a for a, _ in left], [e for _, e in left]
        self._trees = _trees(self._rows, micro_tokens)
        # The position before an answer predicts its first token, so it must not be in the prefix.
        self._common = common([(t.tokens, t.before_all) for t in self._trees])
        self.tokens = sum(map(len, self._trees)) - max(0, len(self._trees) - 1) * len(self._common)

    def run(self, precision: str = "auto") -> Iterator[Scored]:
        """One batch after the other; every text appears in exactly one.

        Args:
            precision: auto, fp32 or bf16 weights.
        """
        if not self._trees:
            return
        with working(self._lm, resolve_precision(precision, self._lm.device)) as model:
            trees, prefix = self._trees, None
            if (self._common or not all(t.chain for t in trees)) and not _takes_trees(model, trees):
                trees = [t for i, e in enumerate(self._rows) for t in grow([(i, e.input_ids, e.answer_start)], len(e))]
            elif self._common and _continues(model):
                prefix = Prefix(model, self._common)
            read, once = (len(prefix), len(prefix)) if prefix else (0, 0)
            most = self._micro_tokens * _COPIES // read if read else len(trees)
            for chain in (False, True):
                alike = [t for t in trees if t.chain is chain]
                for group in _groups([len(t) - read for t in alike], self._micro_tokens, most):
                    batch = [alike[i] for i in group]
                    stats = self._score(model, batch, chain, prefix)
                    yield Scored(stats, once + sum(len(t) - read for t in batch))
                    once = 0

    def _score(self, model: Working, trees: list[Tree], chain: bool, prefix: Prefix | None) -> dict[Ask, AnswerStats]:
        pad, device, read = self._lm.template.pad_id, self._lm.device, len(prefix) if prefix else 0
        hidden = _hidden(model, trees, pad, device, chain, prefix)
        width = hidden.shape[1]
        # Every position that predicts something, once, in the order of the batch.
        asked = np.concatenate([b * width + leaf.before - read for b, t in enumerate(trees) for leaf in t.leaves])
        targets = np.concatenate([leaf.target for t in trees for leaf in t.leaves])
        positions, rows = np.unique(asked, return_inverse=True)
        order = np.argsort(rows, kind="stable")
        found = vocabulary_stats(
            hidden.flatten(0, 1)[torch.from_numpy(positions).to(device)],
            model.logits,
            torch.from_numpy(rows[order]).to(device),
            torch.from_numpy(targets[order]).to(device),
        )
        return self._stats(trees, found, rows, order)

    def _stats(
        self, trees: list[Tree], found: Positions, rows: np.ndarray, order: np.ndarray
    ) -> dict[Ask, AnswerStats]:
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        logp, rank = found.logp.numpy()[back], found.rank.numpy()[back]
        mean, std = found.mean.numpy()[rows], found.std.numpy()[rows]
        out, at = {}, 0
        for leaf in (leaf for t in trees for leaf in t.leaves):
            part = slice(at, at + len(leaf.target))
            ask = self._asks[leaf.index]
            out[ask] = AnswerStats(logp[part], rank[part], mean[part], std[part], ask.answer)
            at = part.stop
        return out


def token_stats(
    lm: LM,
    asks: Sequence[Ask],
    *,
    precision: str = "auto",
    max_length: int = 1024,
    micro_tokens: int = MICRO_TOKENS,
) -> dict[Ask, AnswerStats]:
    """`Sweep` from end to end, without a store."""
    found: dict[Ask, AnswerStats] = {}
    for batch in Sweep(lm, asks, max_length=max_length, micro_tokens=micro_tokens).run(precision):
        found |= batch.stats
    return found


def with_ends(lm: LM, found: Mapping[Ask, AnswerStats], max_length: int) -> dict[Ask, AnswerStats]:
    """`found` with each answer as its tokens spell it, and where in that text each token ends.

    Args:
        lm: Whose tokenizer and template encoded the texts.
        found: What a sweep over them gave.
        max_length: As in the sweep.
    """
    rows, _ = encoded(lm, list(found), max_length)
    spelt = (spelled(lm, row.answer_ids) for row in rows)
    return {
        ask: replace(stats, text=text, ends=np.array(ends, np.int32))
        for (ask, stats), (text, ends) in zip(found.items(), spelt, strict=True)
    }


def _trees(rows: Sequence[Encoded], limit: int) -> list[Tree]:
    by_prompt: dict[tuple[int, ...], list[tuple[int, list[int], int]]] = {}
    for i, row in enumerate(rows):
        by_prompt.setdefault(tuple(row.input_ids[: row.answer_start]), []).append((i, row.input_ids, row.answer_start))
    return [tree for same in by_prompt.values() for tree in grow(same, limit)]


def _groups(lengths: Sequence[int], micro_tokens: int, most: int) -> list[list[int]]:
    """Trees that share a forward: as many as the budget allows, fewer where more than 5 % would be padding.

    Args:
        lengths: Of what is to be read of each.
        micro_tokens: The budget.
        most: Trees in a forward at most, at least one.
    """
    found = groups(lengths, micro_tokens)
    while padding(lengths, found) > 0.05:
        micro_tokens //= 2
        found = groups(lengths, micro_tokens)
    most = max(1, most)
    return [group[i : i + most] for group in found for i in range(0, len(group), most)]


def _hidden(
    model: Working,
    trees: Sequence[Tree],
    pad: int,
    device: torch.device,
    chain: bool,
    prefix: Prefix | None = None,
) -> Tensor:
    """[B, T, D] last hidden states of a batch of trees, without those of the prefix."""
    read = len(prefix) if prefix else 0
    width = max(map(len, trees)) - read
    ids = np.full((len(trees), width), pad, np.int64)
    for row, tree in zip(ids, trees, strict=True):
        row[: len(tree) - read] = tree.tokens[read:]
    given: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(device), "use_cache": False}
    if prefix or not chain:  # else plain sequences, padded on the right only, where causal attention needs no mask
        positions = np.zeros((len(trees), width), np.int64)
        sees = np.broadcast_to(np.eye(width, read + width, read, dtype=bool), (len(trees), width, read + width)).copy()
        for b, tree in enumerate(trees):
            positions[b, : len(tree) - read] = tree.depths[read:]
            sees[b, : len(tree) - read, : len(tree)] = tree.ancestors()[read:]
        given["attention_mask"] = hides(sees, model.dtype, device)
        given["position_ids"] = torch.from_numpy(positions).to(device)
    if prefix:
        given |= {"past_key_values": prefix.cache(len(trees)), "use_cache": True}
    return model.states(**given)


def _takes_trees(model: Working, trees: Sequence[Tree]) -> bool:
    """Whether hidden states in a tree are those of the plain sequences.

    Not so for recurrent layers, for attention kernels without free masks, and beyond a sliding window. Tried on a small
    tree, since a config says too little.
    """
    window = _window(model)
    return not (window and max(t.longest for t in trees) > window) and _tried(model, 0)


def _continues(model: Working) -> bool:
    """Whether hidden states after keys and values read before are those of the plain sequences; tried as well."""
    return plain_cache(model) and _tried(model, 2)


def _tried(model: Working, read: int) -> bool:
    """`_agrees`, tried until an architecture does: weights that are not finite show nothing about their family."""
    parts = [(config.to_json_string(), config._attn_implementation) for config in configs(model.model)]
    key = (type(model.model), tuple(parts), model.dtype, read)
    if key not in _AGREED and _agrees(model, read):
        _AGREED.add(key)
    return key in _AGREED


def _agrees(model: Working, read: int) -> bool:
    """Whether a small tree, its first `read` tokens as a prefix, gives the hidden states of its sequences."""
    embedding = model.model.get_input_embeddings().weight
    ids = [i % len(embedding) for i in (5, 6, 7, 8, 9, 11)]
    other = [*ids[:3], *(i % len(embedding) for i in (12, 10, 7))]
    (tree,) = grow([(0, ids, 3), (1, other, 3)], 100)
    if tree.chain:
        return False
    device = embedding.device
    try:
        prefix = Prefix(model, ids[:read]) if read else None
        together = _hidden(model, [tree], 0, device, False, prefix)[0]
    except Exception:  # whatever a family's code makes of a mask or a cache that it does not expect
        return False
    for index, sequence in enumerate((ids, other)):
        (alone,) = grow([(0, sequence, 3)], 100)
        expected = _hidden(model, [alone], 0, device, True)[0, 2:].float()
        got = together[torch.from_numpy(tree.leaves[index].before - read).to(device)].float()
        if not (got - expected).norm() <= 0.05 * expected.norm():  # NaN is no agreement
            return False
    return True


def _window(model: Working) -> int:
    """Tokens within sight of attention where that is limited, else 0."""
    settings = [config.get_text_config().to_dict() for config in configs(model.model)]
    limits = [config.get(name) for config in settings for name in ("sliding_window", "attention_chunk_size")]
    return min((int(x) for x in limits if x), default=0)
