"""What goes into and comes out of modules at chosen tokens: the keys of an edit, and their second moments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..data.batch import groups
from ..models.layers import backbone, padded

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run
    from .subjects import Place, Request

_TOKENS = 4096
"""Padded tokens per forward, which keeps no activations."""

NOTHING_ASKED = "?"
"""A question whose prompt has nothing in common with others but what the template writes in front."""

Side = Literal["in", "out"]
Wanted = Mapping[str, tuple[nn.Module, Side]]
"""Name → module, and which side of it."""


def sweep(
    lm: LM,
    sequences: Sequence[Sequence[int]],
    wanted: Wanted,
    read: Callable[[list[int], dict[str, Tensor]], None],
    run: Run,
    label: str,
    above: Above | None = None,
) -> None:
    """Forwards without gradient over all sequences; nothing runs after the last of the modules wanted.

    Args:
        lm: A plain model.
        sequences: Ids, in any order.
        wanted: What to capture. Every module must run once a forward.
        read: Called with the numbers of a batch's sequences and name → [B, T, width]; what lies behind a sequence's
            end is noise.
        run: For signals, progress and the count of tokens.
        label: Of the progress bar.
        above: Keeps what the layers below gave for these sequences, which it must be asked for in every sweep.
    """
    lengths = [len(ids) for ids in sequences]
    with torch.no_grad(), run.progress(label, len(sequences), "texts") as bar:
        for group in groups(lengths, _TOKENS):
            run.check_stop()
            ids = padded([sequences[i] for i in group], lm.template.pad_id).to(lm.device)
            resumed = contextlib.nullcontext() if above is None else above.resumed(tuple(group))
            with captured(wanted) as found, resumed, contextlib.suppress(_Enough):
                backbone(lm.model)(input_ids=ids, use_cache=False)
            read(group, found)
            run.spend(sum(lengths[i] for i in group))
            bar.advance(len(group))


def at_places(
    lm: LM, places: Sequence[Place], wanted: Wanted, run: Run, label: str, above: Above | None = None
) -> dict[str, Tensor]:
    """Name → [n, width] float32: what is wanted at the position of each place, in order. `above` as in `sweep`."""
    out: dict[str, Tensor] = {}

    def read(group: list[int], found: dict[str, Tensor]) -> None:
        at = torch.tensor([places[i].at for i in group], device=lm.device)
        for name, states in found.items():
            own = states[torch.arange(len(group), device=lm.device), at].float()
            out.setdefault(name, own.new_empty(len(places), own.shape[1]))[group] = own

    sweep(lm, [place.ids for place in places], wanted, read, run, label, above)
    return out


def moments(
    lm: LM, sequences: Sequence[Sequence[int]], wanted: Wanted, run: Run, label: str, opening: Sequence[int] = ()
) -> dict[str, Moment]:
    """Sums of k kᵀ and of k over all tokens but the first of each sequence, in float64.

    The first token is an attention sink: its keys are many times as long as any other and would be all the spectrum.
    What sequences begin with like `opening` (a system prompt) counts once: its keys are the same in all of them.
    """
    out: dict[str, Moment] = {}
    alike = [shared(opening, ids) for ids in sequences]
    begin = [max(1, count) for count in alike]
    if alike:
        begin[alike.index(max(alike))] = 1

    def read(group: list[int], found: dict[str, Tensor]) -> None:
        for name, states in found.items():
            real = torch.cat([states[b, begin[i] : len(sequences[i])] for b, i in enumerate(group)]).double()
            if name not in out:
                width = real.shape[1]
                out[name] = Moment(real.new_zeros(width, width), real.new_zeros(width), 0)
            out[name].add(real)

    sweep(lm, sequences, wanted, read, run, label)
    return out


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class Moment:
    """Σ k kᵀ [d, d], Σ k [d] and the number of keys."""

    def __init__(self, square: Tensor, total: Tensor, count: int):
        self.square, self.total, self.count = square, total, count

    def add(self, keys: Tensor) -> None:
        """Count keys [n, d] in."""
        self.square += keys.T @ keys
        self.total += keys.sum(0)
        self.count += len(keys)

    @property
    def mean(self) -> Tensor:
        """E[k kᵀ]."""
        return self.square / max(self.count, 1)


class Above:
    """What goes into a layer, kept from sweep to sweep: while layers change from below, those below them need not run.

    Args:
        blocks: The decoder layers.
        first: The lowest layer that changes.
    """

    def __init__(self, blocks: nn.ModuleList, first: int):
        self.level = first
        """The next sweeps read nothing below this layer; raise it when the layers below it have changed for good."""
        self._blocks, self._first = blocks, first
        self._kept: dict[tuple[int, ...], dict[int, Tensor]] = {}

    @contextlib.contextmanager
    def resumed(self, group: tuple[int, ...]) -> Iterator[None]:
        """Within, a forward over the sequences `group` begins at the highest layer whose input is known."""
        known = self._kept.setdefault(group, {})
        begin = max((at for at in known if at <= self.level), default=0)
        skipped: list[Any] = list(self._blocks)[:begin]

        def keep(_: nn.Module, __: object, output: Any) -> None:
            known[self.level] = output[0] if isinstance(output, tuple) else output
            for other in set(known) - {self._first, self.level}:
                del known[other]

        handle = self._blocks[self.level - 1].register_forward_hook(keep) if self.level > begin else None
        for block in skipped:
            block.forward = lambda *_, **__: known[begin]
        try:
            yield
        finally:
            for block in skipped:
                del block.forward
            if handle is not None:
                handle.remove()


def pooled(requests: Sequence[Request], own: Tensor, other: Tensor | None = None) -> Tensor:
    """[requests, d] one key a request: half the mean over its prompts, half that over them after other openings.

    Args:
        requests: In order.
        own: [prompts, d] of all requests' `places`, one request after the other.
        other: [prompts, d] of all their `others`; none, or empty, is left out.
    """
    first = [part.mean(0) for part in own.split([len(r.places) for r in requests])]
    if other is None or not len(other):
        return torch.stack(first)
    second = [part.mean(0) for part in other.split([len(r.others) for r in requests])]
    return (torch.stack(first) + torch.stack(second)) / 2


@contextlib.contextmanager
def captured(wanted: Wanted) -> Iterator[dict[str, Tensor]]:
    """Within, forwards fill the yielded dict, and stop as soon as it is full."""
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Any) -> None:
        found[name] = value[0] if isinstance(value, tuple) else value
        if len(found) == len(wanted):
            raise _Enough

    def hook_in(name: str) -> Any:
        return lambda _, args: keep(name, args[0])

    def hook_out(name: str) -> Any:
        return lambda _, __, output: keep(name, output)

    with contextlib.ExitStack() as stack:
        for name, (module, side) in wanted.items():
            register = module.register_forward_pre_hook if side == "in" else module.register_forward_hook
            stack.callback(register((hook_in if side == "in" else hook_out)(name)).remove)
        yield found


class _Enough(Exception):
    """Everything wanted has been captured."""
