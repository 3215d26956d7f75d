"""Gradient norm of each answer's loss: one forward and one backward per text, no gradient kept longer than its tensor.

A hook on every weight takes the norm of its gradient as soon as that is complete and drops it, so memory is that of the
weights and one tensor, not of a second model.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..models.layers import backbone, logits_of
from ..models.lm import LM
from .texts import Ask, encoded
from .working import Precision, Working, working

VERSION = 1
"""Part of every store key; raise it when the same model and texts would come out as other numbers."""


class GradNormSweep:
    """‖∂(mean token loss of the answer)/∂θ‖₂ of a list of texts, over all weights θ, tied ones counted once.

    Args:
        lm: Whose weights and template. A LoRA adapter is merged first: the norm is over the weights it acts on.
        asks: What to measure; repeats are measured once.
        skip: Those of them that have been measured before.
        max_length: Tokens of prompt + answer; a longer answer counts up to there.
        micro_tokens: Not used: gradients of single texts cannot share a forward.

    Raises:
        DataError: a text cannot be encoded, or its prompt leaves no room for the answer.
    """

    def __init__(
        self, lm: LM, asks: Sequence[Ask], *, skip: Collection[Ask] = (), max_length: int = 1024, micro_tokens: int = 0
    ) -> None:
        del micro_tokens
        self._lm = lm
        every = list(dict.fromkeys(asks))
        rows, self.cut = encoded(lm, every, max_length)
        self._rows = [(a, e) for a, e in zip(every, rows, strict=True) if a not in skip]
        self.tokens = sum(len(e) for _, e in self._rows)

    def run(self, precision: Precision = "fp32") -> Iterator[tuple[dict[Ask, float], int]]:
        """One text after the other, in float32 whatever `precision`: bf16 gradients underflow on known answers."""
        del precision
        if not self._rows:
            return
        with working(self._lm, "fp32") as model, _collected(model.model) as norms:
            for ask, row in self._rows:
                norms.clear()
                ids = torch.tensor([row.input_ids], device=self._lm.device)
                with torch.enable_grad():
                    _loss(model, ids, row.answer_start).backward()  # type: ignore[no-untyped-call]
                yield {ask: math.sqrt(math.fsum(float(x) ** 2 for x in norms))}, len(row)


def _loss(model: Working, ids: Tensor, start: int) -> Tensor:
    """Mean loss of the tokens from `start` on; the head runs on them alone where it can."""
    given = {"input_ids": ids, "use_cache": False}
    if model.plain:
        states = backbone(model.model)(**given).last_hidden_state
        logits = logits_of(model.model, states[0, start - 1 : -1])
    else:
        logits = model.model(**given).logits[0, start - 1 : -1]
    return functional.cross_entropy(logits.float(), ids[0, start:])


@contextlib.contextmanager
def _collected(model: Any) -> Iterator[list[Tensor]]:
    """A list that every backward pass fills with the norms of the weights' gradients. Flags and gradients stay as they

    were.
    """
    weights = [p for p in model.parameters() if p.is_floating_point()]
    flags = [p.requires_grad for p in weights]
    kept = [p.grad for p in weights]
    norms: list[Tensor] = []

    def take(weight: Tensor) -> None:
        if weight.grad is not None:
            norms.append(torch.linalg.vector_norm(weight.grad))
            weight.grad = None

    for p in weights:
        p.grad = None
        p.requires_grad_(True)
    hooks = [p.register_post_accumulate_grad_hook(take) for p in weights]
    try:
        yield norms
    finally:
        for hook in hooks:
            hook.remove()
        for p, flag, gradient in zip(weights, flags, kept, strict=True):
            p.requires_grad_(flag)
            p.grad = gradient
