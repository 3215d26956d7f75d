"""The line through two states of a model: θ(s) = θ0 + s·(θu − θ0).

s = 0 is before, 1 is after; 0 < s < 1 calibrates (UWC, arXiv:2406.09179), s > 1 extrapolates (UIPE, arXiv:2503.04693,
s = 1 + α), s < 0 goes the other way (task-vector negation).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import ModelError
from .lm import LM
from .weights import extrapolate


class Line:
    """Walks the line with one copy of the weights, moved in place; both ends are exact.

    Args:
        before: θ0.
        after: θu, of the same architecture. Adapters are merged.
        further: Which parameters go beyond θu when s > 1, by name; the others stay there. None is all.

    Raises:
        ModelError: the two do not have the same tensors, or are patched differently, or `further` names no tensor.
    """

    def __init__(self, before: LM, after: LM, further: Callable[[str], bool] | None = None):
        from .adapters import merged

        self._subject = extrapolate(before, after, 1.0)  # also checks that they belong together
        self._old = dict(merged(before).model.named_parameters())
        self._new = dict(merged(after).model.named_parameters())
        self._stay = {name for name in self._new if further is not None and not further(name)}
        if self._stay == self._new.keys():
            raise ModelError(
                "none of the model's parameters is to be extrapolated",
                f"its names look like {', '.join(list(self._new)[-3:])}",
            )

    @torch.no_grad()
    def at(self, s: float) -> LM:
        """θ(s). The same object every time: it is moved by the next call, so `fork` what should last."""
        for name, parameter in self._subject.model.named_parameters():
            start = self._old[name].to(parameter.device, torch.float32)
            far = min(s, 1.0) if name in self._stay else s
            parameter.copy_(torch.lerp(start, self._new[name].to(parameter.device, torch.float32), far))
        return self._subject
