"""RecAdam: Adam whose steps fade in while a pull toward the first weights fades out.

    θ ← θ − η · ( λ · m̂ / (√v̂ + ε) + (1 − λ) · pull · (θ − θ0) ),      λ(t) = σ( slope · (t/T − midpoint) )

Paper    Chen, Hou, Cui, Che, Liu, Yu (2020). Recall and Learn: Fine-tuning Deep Pretrained Language Models with Less
         Forgetting. arXiv:2004.12651
Limits   By the end λ is 1 and nothing pulls any more: the weights keep near θ0 only while the training is young.
Differs  The annealing is written in shares of the training, t/T, instead of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config.plan import RecAdam as Settings


class RecAdam(torch.optim.Optimizer):
    """The equation above, with decoupled weight decay.

    Args:
        groups: Parameter groups with ``params`` and ``weight_decay``.
        anchors: id of a parameter → θ0.
        lr: η.
        steps: T.
        settings: pull, slope, midpoint.
        betas: Of the moments.
        eps: ε.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        anchors: Mapping[int, Tensor],
        *,
        lr: float,
        steps: int,
        settings: Settings,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__([dict(group) for group in groups], {"lr": lr, "weight_decay": 0.0})
        self._anchors, self._steps, self._settings = anchors, steps, settings
        self._betas, self._eps = betas, eps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["weight_decay"])

    def _move(self, parameter: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = self._betas
        assert parameter.grad is not None
        state["exp_avg"].lerp_(parameter.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        scale = math.sqrt(1 - second ** state["step"])
        size = (state["exp_avg_sq"].sqrt() / scale).add_(self._eps)
        weight = fade(state["step"] / self._steps, self._settings)
        pull = parameter - self._anchors[id(parameter)]
        parameter.mul_(1 - rate * decay)
        parameter.addcdiv_(state["exp_avg"], size, value=-rate * weight / (1 - first ** state["step"]))
        parameter.add_(pull, alpha=-rate * (1 - weight) * self._settings.pull)


def fade(done: float, settings: Settings) -> float:
    """λ after the share `done` of the training."""
    return 1 / (1 + math.exp(-settings.slope * (done - settings.midpoint)))
