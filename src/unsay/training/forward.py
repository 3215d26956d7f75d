"""One forward of one micro-batch through one model, run when its first number is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import MethodError, NeedError
from ..models.layers import backbone, decoder_layers, head, head_is_plain, network
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
        shallow: Nothing but the output of `layers` will be read: run no layer above them.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: MicroBatch,
        layers: tuple[str, ...] = (),
        *,
        grad: bool = True,
        shallow: bool = False,
    ):
        self.batch = batch
        self._model = model
        self._layers = layers
        self._grad = grad
        self._shallow = shallow and bool(layers)
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
        return layout_of(self.batch, share=not _drops(self._model)) if packs else None

    def at(self, row: Tensor, position: Tensor) -> Tensor:
        """[A, D] hidden states that the head reads, of A tokens; [A, V] logits where there is no plain head."""
        if self._layout is not None:
            return self._last[0].index_select(0, self._layout.slots[row, position])
        return self._last.flatten(0, 1).index_select(0, row * self.batch.input_ids.shape[1] + position)

    def run(self) -> None:
        """Run the forward now instead of when it is first read."""
        if self._shallow:
            with contextlib.suppress(_Enough):
                self._run()
        else:
            _ = self._last

    @cached_property
    def _last(self) -> Tensor:
        if self._shallow:
            raise NeedError("the objective reads more than the layers it declares", "set shallow = False on the class")
        last = self._run()
        return last if self.batch.input_ids.shape[0] else last.new_zeros(0, *last.shape[1:])

    def _run(self) -> Tensor:
        """[1, N, D] of a line, or [B, T, D]; logits in the place of hidden states where there is no plain head.

        Raises:
            _Enough: all layers have been captured, and nothing above them is wanted.
        """
        run = self._model if self.head is None else backbone(self._model)
        rows, width = self.batch.input_ids.shape
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(self._grad and torch.is_grad_enabled()))
            stack.callback(self._arrange, rows, width)
            stack.enter_context(self._capturing())
            if self._layout is not None:
                stack.enter_context(laid_out(self._layout))
                ids, positions = self._layout.line(self.batch.input_ids), self._layout.positions
                out = run(input_ids=ids, position_ids=positions, use_cache=False)
            else:
                ids = self.batch.input_ids if rows else self.batch.input_ids.new_zeros(1, 1)  # shapes of an empty role
                out = run(input_ids=ids, use_cache=False)
        return cast(Tensor, out.logits if self.head is None else out.last_hidden_state)

    def _arrange(self, rows: int, width: int) -> None:
        """Captured outputs as [B, T, D]."""
        if self._layout is not None:
            slots = self._layout.slots
            self._captured = {name: t[0][slots] for name, t in self._captured.items()}
        elif not rows:
            self._captured = {name: t.new_zeros(0, width, t.shape[-1]) for name, t in self._captured.items()}

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
        if layer not in self._captured:
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
            if self._shallow and len(self._captured) == len(self._layers):
                raise _Enough

        return hook


def _drops(model: nn.Module) -> bool:
    """Whether dropout is at work, which falls on every row by itself."""
    return any(isinstance(module, nn.Dropout) and module.training and module.p > 0 for module in model.modules())


class _Enough(Exception):
    """Everything declared has been captured."""


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The module called `name` in the model as it was loaded, whether or not peft wraps it.

    Args:
        model: Plain or wrapped.
        name: A module name, the number of a decoder layer, or a share of the depth such as ``1/4``.

    Raises:
        MethodError: there is none.
    """
    root = network(model)
    if name[:1].isdigit():
        return decoder_layers(model)[layer_number(model, name)]
    try:
        return cast(nn.Module, root.get_submodule(name))
    except AttributeError:
        known = [n for n, m in root.named_modules() if isinstance(m, nn.ModuleList)]
        raise MethodError(f"the model has no layer {name!r}", f"layers are numbered under {', '.join(known)}") from None


def layer_number(model: nn.Module, at: str) -> int:
    """The decoder layer, counted from 0, that a number or a share of the depth (``1/4``) names.

    Raises:
        MethodError: there is no such layer.
    """
    depth = len(decoder_layers(model))
    try:
        number = Fraction(at)
    except (ValueError, ZeroDivisionError):
        raise MethodError(
            f"{at!r} names no layer", f"a number below {depth}, or a share of the depth such as 1/4"
        ) from None
    found = int(number * depth) if "/" in at or number.denominator != 1 else int(number)
    if not 0 <= found < depth:
        raise MethodError(f"there is no decoder layer {at}: the model has {depth}", "layers count from 0")
    return found
