"""What each layer would say next at the end of a prompt, and how far it is from what the model says.

p_l = softmax(W_U · norm(h_l))        FKL_l = Σ_v p_L(v) [ln p_L(v) − ln p_l(v)]        l = 0 is the embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.entities import content_words
from .inside import Inside


@dataclass(frozen=True)
class Reading:
    """One layer at one place."""

    top: tuple[int, ...]
    """Likeliest tokens, likeliest first."""
    probabilities: tuple[float, ...]
    """Theirs."""
    entropy: float
    """Nats."""
    fkl: float
    """KL(last layer ‖ this one), nats."""
    logp: float
    """Of the wanted token, nats."""
    rank: int
    """Of the wanted token; 0 is the likeliest."""


def read_layers(inside: Inside, prompts: Sequence[Sequence[int]], wanted: Sequence[int], k: int) -> list[list[Reading]]:
    """For each prompt its layers from 0 to the last, read at its last place.

    Args:
        inside: The model.
        prompts: Token ids.
        wanted: The token that should come next, one a prompt.
        k: How many of the likeliest tokens are kept.
    """
    found: list[list[Reading]] = [[] for _ in prompts]
    for group, states in inside.batches(prompts):
        for row, number in enumerate(group):
            with torch.inference_mode():
                logp = inside.logits(states[row, :, len(prompts[number]) - 1]).float().log_softmax(-1)
            found[number] = [_reading(layer, logp[-1], wanted[number], k) for layer in logp]
    return found


def _reading(logp: torch.Tensor, last: torch.Tensor, wanted: int, k: int) -> Reading:
    p = logp.exp()
    likeliest = logp.topk(min(k, len(logp)))
    return Reading(
        top=tuple(likeliest.indices.tolist()),
        probabilities=tuple(likeliest.values.exp().tolist()),
        entropy=float(-(p * logp).nan_to_num(0.0).sum()),
        fkl=max(0.0, float((last.exp() * (last - logp)).nan_to_num(0.0).sum())),
        logp=float(logp[wanted]),
        rank=int((logp > logp[wanted]).sum()),
    )


def summary(layers: Sequence[Reading]) -> dict[str, Any]:
    """How early the wanted token shows, how abruptly the layers turn, how many things the later half says (ours)."""
    ranks = [layer.rank for layer in layers]
    fkl = np.array([layer.fkl for layer in layers])
    depth = len(layers) - 1
    return {
        "best_rank": min(ranks),
        "best_layer": ranks.index(min(ranks)),
        "first_layer_on_top": ranks.index(0) if 0 in ranks else None,
        "largest_turn": float(np.abs(np.diff(fkl)).max()),
        "largest_turn_at": int(np.abs(np.diff(fkl)).argmax()) + 1,
        "late_answers": len({layer.top[0] for layer in layers[(depth + 1) // 2 :]}),
    }


def said_again(tokens: Sequence[str], question: str) -> list[str]:
    """Those of `tokens` that are (the first three or more letters of) a content word of the question."""
    asked = content_words(question)
    plain = [(token, token.strip().lower()) for token in tokens]
    return [token for token, word in plain if len(word) > 2 and any(w.startswith(word) for w in asked)]


def next_tokens(logits: torch.Tensor) -> NDArray[np.float32]:
    """[n, V] log-probabilities of logits [n, V], as numpy."""
    found: NDArray[np.float32] = logits.float().log_softmax(-1).cpu().numpy()
    return found
