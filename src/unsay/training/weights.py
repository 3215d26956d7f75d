"""The numbers the optimiser moves (float32, always) and the copy of them the forward runs on.

With bfloat16 the model holds a working copy, refreshed from float32 master weights after every step, and gradients
are added up in float32: weights kept in bfloat16 would round most updates of a small learning rate away.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]


class Weights:
    """Parameters under training, by name; one entry for weights that are tied.

    Args:
        model: Holds float32 weights. With bf16 its parameters hold the working copy until `release`.
        precision: fp32 trains the model's own parameters.

    Attributes:
        trained: Name → float32 parameter the optimiser updates, its gradient in ``.grad``.
    """

    def __init__(self, model: nn.Module, precision: Precision):
        self.precision = precision
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        self._hooks = []
        self._started: set[int] = set()
        self.trained: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            if precision == "fp32" or not parameter.is_floating_point():
                if parameter.requires_grad:
                    self.trained[name] = parameter
                continue
            master = nn.Parameter(parameter.data.float(), requires_grad=parameter.requires_grad)
            parameter.data = parameter.data.to(torch.bfloat16)
            self._pairs.append((parameter, master))
            if parameter.requires_grad:
                master.grad = torch.zeros_like(master)
                self.trained[name] = master
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._collector(master.grad)))

    def zero_grad(self) -> None:
        """Forget the gradients. Their memory is kept: allocating it anew every step costs more than clearing it."""
        if self.precision == "bf16":
            self._started.clear()
            return
        for parameter in self.trained.values():
            parameter.grad = None

    def settle(self) -> None:
        """After the last backward of a step: parameters that no micro-batch reached have no gradient."""
        if self.precision == "bf16":
            for master in self.trained.values():
                if master.grad is not None and id(master.grad) not in self._started:
                    master.grad.zero_()

    def take(self, into: dict[str, Tensor]) -> None:
        """Add the gradients gathered since the last `zero_grad` or `take` to `into`, and forget them."""
        for name, parameter in self.trained.items():
            grad = parameter.grad
            if grad is None or (self.precision == "bf16" and id(grad) not in self._started):
                continue
            if name in into:
                into[name].add_(grad)
            else:
                into[name] = grad.clone() if self.precision == "bf16" else grad
        self.zero_grad()

    def give(self, grads: Mapping[str, Tensor]) -> None:
        """Let `grads` be the gradients; parameters without an entry have none."""
        self.zero_grad()
        for name, grad in grads.items():
            parameter = self.trained[name]
            if self.precision == "bf16" and parameter.grad is not None:
                parameter.grad.copy_(grad)
                self._started.add(id(parameter.grad))
            else:
                parameter.grad = grad

    def refresh(self) -> None:
        """Working copy ← master weights."""
        with torch.no_grad():
            for working, master in self._pairs:
                if master.requires_grad:
                    working.copy_(master)

    def release(self) -> None:
        """Give the model its float32 weights back, and let go of the gradients."""
        for hook in self._hooks:
            hook.remove()
        for working, master in self._pairs:
            working.data = master.data
            working.grad = master.grad = None
        for parameter in self.trained.values():
            parameter.grad = None
        self._pairs, self._hooks = [], []

    def _collector(self, total: Tensor) -> Callable[[Tensor], None]:
        """Moves the gradient of one micro-batch into the float32 `total`."""

        def collect(working: Tensor) -> None:
            part, working.grad = working.grad, None
            if part is None:
                return
            if id(total) in self._started:
                total.add_(part)
            else:
                total.copy_(part)
                self._started.add(id(total))

        return collect


@contextlib.contextmanager
def working(model: nn.Module, wanted: str, device: torch.device) -> Iterator[None]:
    """Within, no weight asks for a gradient, and the network computes in `wanted` precision; no weight changes."""
    asked = [p for p in model.parameters() if p.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    weights = Weights(model, pick_precision(wanted, device))
    try:
        yield
    finally:
        weights.release()
        for parameter in asked:
            parameter.requires_grad_(True)


def pick_precision(wanted: str, device: torch.device) -> Precision:
    """`wanted`, or for ``auto`` bf16 where the device multiplies it at least 1.5 times as fast as fp32."""
    if wanted == "auto":
        return "bf16" if _bf16_gain(device.type) >= 1.5 else "fp32"
    return "bf16" if wanted == "bf16" else "fp32"


@functools.cache
def _bf16_gain(kind: str) -> float:
    """How many times faster bf16 multiplies; measured once a process, the best of several tries each."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.ones(1024, 1024, dtype=dtype, device=kind) for _ in range(2))
        tries = []
        for _ in range(5):
            began = time.perf_counter()
            (a @ b).sum().item()  # item() waits for devices that work asynchronously
            tries.append(time.perf_counter() - began)
        seconds[dtype] = min(tries[1:])
    return seconds[torch.float32] / seconds[torch.bfloat16]
