"""One forward of one micro-batch through one model, run when its first number is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import MethodError, NeedError
from ..models.layers import backbone, head, head_is_plain, network
from .batch import MicroBatch
from .packed import Layout, is_packed, laid_out, layout_of
from .row_loss import Projection


class Forward:
    """The backbone's output for `batch`, and what declared layers gave on the way.

    A model whose attention is `packed.NAME` is given the rows end to end, without padding. Any other is given them
    padded on the right and no attention mask: causal attention never lets a real token see what follows it, and what
    comes out at padded positions is noise that nothing reads.

    Args:
        model: A causal LM, plain or wrapped by peft.
        batch: On the model's device.
        layers: Module names whose output is kept, such as ``model.layers.7``.
        grad: Whether the result can be differentiated.
    """

    def __init__(self, model: nn.Module, batch: MicroBatch, layers: tuple[str, ...] = (), *, grad: bool = True):
        self.batch = batch
        self._model = model
        self._layers = layers
        self._grad = grad
        self._captured: dict[str, Tensor] = {}

    @cached_property
    def head(self) -> Projection | None:
        """What makes logits of `last`; None where `last` holds logits already, for want of a plain head."""
        if not head_is_plain(self._model):
            return None
        found = head(self._model)
        if not isinstance(found.module, nn.Linear):  # a head with an adapter on it
            return None
        return Projection(found.weight, found.bias, found.softcap, found.scale)

    @cached_property
    def _layout(self) -> Layout | None:
        packs = self.batch.input_ids.shape[0] > 0 and self.head is not None and is_packed(self._model)
        return layout_of(self.batch) if packs else None

    def at(self, row: Tensor, position: Tensor) -> Tensor:
        """[A, D] hidden states that the head reads, of A tokens; [A, V] logits where there is no plain head."""
        if self._layout is not None:
            return self._last[0].index_select(0, self._layout.slots[row, position])
        return self._last.flatten(0, 1).index_select(0, row * self.batch.input_ids.shape[1] + position)

    def run(self) -> None:
        """Run the forward now instead of when it is first read."""
        _ = self._last

    @cached_property
    def _last(self) -> Tensor:
        run = self._model if self.head is None else backbone(self._model)
        rows, width = self.batch.input_ids.shape
        if self._layout is not None:
            grad = torch.set_grad_enabled(self._grad and torch.is_grad_enabled())
            with grad, self._capturing(), laid_out(self._layout):
                ids, positions = self._layout.line(self.batch.input_ids), self._layout.positions
                out = run(input_ids=ids, position_ids=positions, use_cache=False)
            slots = self._layout.slots
            self._captured = {name: t[0][slots] for name, t in self._captured.items()}
            return cast(Tensor, out.last_hidden_state)
        ids = self.batch.input_ids if rows else self.batch.input_ids.new_zeros(1, 1)  # shapes of an empty role
        with torch.set_grad_enabled(self._grad and torch.is_grad_enabled()), self._capturing():
            out = run(input_ids=ids, use_cache=False)
        last = cast(Tensor, out.logits if self.head is None else out.last_hidden_state)
        if not rows:
            self._captured = {name: t.new_zeros(0, width, t.shape[-1]) for name, t in self._captured.items()}
            last = last.new_zeros(0, width, last.shape[-1])
        return last

    def logits(self, states: Tensor) -> Tensor:
        """[A, V] float32 logits of some rows of `last` [A, D]."""
        return states.float() if self.head is None else self.head.logits(states)

    def captured(self, layer: str) -> Tensor:
        """[B, T, D] output of a declared layer.

        Raises:
            NeedError: it was not declared.
        """
        if layer not in self._layers:
            raise NeedError(
                f"the objective reads layer {layer!r}, and declares {', '.join(self._layers) or 'none'}",
                "name it in the method's layers",
            )
        self.run()
        return self._captured[layer]

    @contextlib.contextmanager
    def _capturing(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for name in self._layers:
                handle = find_module(self._model, name).register_forward_hook(self._keep(name))
                stack.callback(handle.remove)
            yield

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._captured[name] = output[0] if isinstance(output, tuple) else output

        return hook


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The module called `name` in the model as it was loaded, whether or not peft wraps it.

    Raises:
        MethodError: there is none.
    """
    root = network(model)
    try:
        return cast(nn.Module, root.get_submodule(name))
    except AttributeError:
        known = [n for n, m in root.named_modules() if isinstance(m, nn.ModuleList)]
        raise MethodError(f"the model has no layer {name!r}", f"layers are numbered under {', '.join(known)}") from None
