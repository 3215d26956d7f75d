"""Value and gradient of an objective over a whole set of rows at fixed weights: one pass, no optimiser, no Trainer.

For methods that take a single calibrated step. The objective is what a `GradientMethod` would train on: means divide by
the counts of the whole set, so how it is split into micro-batches changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from random import Random
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ..data.batch import groups
from ..data.checks import check_lengths
from ..data.example import Example
from ..errors import CollapseError, DataError, MethodError
from ..runs.reporter import NullReporter
from .attention import speed_up_attention
from .batch import Counts, MicroBatch, Row, encode_rows
from .forward import Forward
from .heap import steady_heap
from .step import Step, View
from .trainer import Loss

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

Rows = Mapping[str, Sequence[Row]]
"""Encoded rows by role."""
_Item = TypeVar("_Item")


def encode_roles(lm: LM, roles: Mapping[str, Sequence[Example]], run: Run) -> dict[str, list[Row]]:
    """The rows of every role as tokens.

    Raises:
        DataError: a role has no rows, or a row does not fit into `data.max_length`.
    """
    limit = run.plan.data.max_length
    for role, members in roles.items():
        if not members:
            raise DataError(f"the method needs {role} rows, and there are none", f"give at least one {role} row")
        for note in check_lengths(members, lm.template, limit, run.plan.data.truncate, role):
            run.note(note)
    return {role: encode_rows(members, lm.template, limit) for role, members in roles.items()}


def sample(rows: Sequence[_Item], count: int, seed: int) -> list[_Item]:
    """At most `count` of `rows`, drawn by `seed`, in their own order."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i] for i in sorted(Random(seed).sample(range(len(rows)), count))]


@contextmanager
def working_copy(lm: LM, *rows: Rows) -> Iterator[LM]:
    """A copy of `lm` in float32, without dropout, with the attention that is fastest for `rows`.

    The copy may be kept; at the end it has the attention of `lm` again.
    """
    subject = lm.fork()
    subject.model.float().eval()
    lengths = [row.length for roles in rows for members in roles.values() for row in members]
    attention = subject.attention
    speed_up_attention(subject, max(lengths, default=0))
    try:
        with steady_heap():
            yield subject
    finally:
        subject.set_attention(attention)


def trainable(lm: LM) -> dict[str, torch.nn.Parameter]:
    """Name → parameter of what may change: everything, or the adapter alone. Tied weights appear once.

    Raises:
        MethodError: everything is frozen.
    """
    found = {name: p for name, p in lm.model.named_parameters() if p.requires_grad}
    if not found:
        raise MethodError(f"no weight of {lm.origin} is trainable", "model.requires_grad_(True), or attach an adapter")
    return found


def total_loss(lm: LM, rows: Rows, loss: Loss, run: Run, label: str = "loss") -> float:
    """The objective over all of `rows` at the weights `lm` has now; may be infinite or NaN. No bar without a label."""
    total = 0.0
    with torch.no_grad():
        for step in _steps(lm, rows, run, label, grad=False):
            total += float(_sum(loss(step)))
    return total


def full_gradient(lm: LM, rows: Rows, loss: Loss, run: Run, label: str = "gradient") -> dict[str, Tensor]:
    """The gradient of the objective over all of `rows` at the weights `lm` has now.

    Args:
        lm: A `working_copy`; its ``.grad`` fields are used and left empty.
        rows: By role, none of them empty.
        loss: The objective, as in a `GradientMethod`; it reads no reference.
        run: For ``train.micro_tokens``, progress and signals.
        label: Of the progress bar; "" shows none.

    Returns:
        A float32 tensor for every trainable parameter, by name; zeros where the objective does not reach.

    Raises:
        CollapseError: it is not finite.
        Interrupted: a signal came between two micro-batches.
    """
    _clear(lm)
    for step in _steps(lm, rows, run, label, grad=True):
        _backward(loss(step))
    return _collect(lm)


def row_gradients(lm: LM, rows: Sequence[Row], loss: Loss, run: Run, label: str = "row gradients") -> Tensor:
    """[R, P] float32: the gradient of the objective over each row by itself, role ``rows``, flattened as `flat` does.

    Held in memory whole: 4 · R · P bytes, and P is the number of trainable weights.

    Raises:
        CollapseError: one is not finite.
    """
    out: Tensor | None = None
    _clear(lm)
    for number, step in enumerate(_steps(lm, {"rows": rows}, run, label, grad=True, alone=True)):
        _backward(loss(step))
        gradient = flat(_collect(lm))
        out = gradient.new_empty(len(rows), len(gradient)) if out is None else out
        out[number] = gradient
    if out is None:
        raise DataError("row gradients need at least one row")
    return out


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """[P] all tensors one after the other."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors.values()])


def unflat(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """[P] → tensors with the names, shapes, dtype and device of `like`: the inverse of `flat`."""
    parts = vector.split([tensor.numel() for tensor in like.values()])
    return {name: part.view(t.shape).to(t) for part, (name, t) in zip(parts, like.items(), strict=True)}


@torch.no_grad()
def place(subject: LM, origin: LM, direction: Mapping[str, Tensor], length: float) -> None:
    """Weights of `subject` ← weights of `origin` + `length` · `direction`; other weights are left alone.

    From `origin` every time, so that going back and forth adds no rounding, and `length` 0 restores it exactly.
    """
    moved = dict(subject.model.named_parameters())
    start = dict(origin.model.named_parameters())
    for name, step in direction.items():
        moved[name].copy_(start[name].to(step) + length * step if length else start[name])


def norm(tensors: Mapping[str, Tensor]) -> float:
    """Euclidean length of all of it, in float64."""
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors.values()))


def mean_nll(role: str) -> Callable[[Step], Tensor]:
    """The objective ``nll`` of one role."""
    return lambda step: step.role(role).nll


def _steps(lm: LM, rows: Rows, run: Run, label: str, *, grad: bool, alone: bool = False) -> Iterator[Step]:
    """One `Step` per micro-batch with the counts of all rows; `alone`: one per row, with its own counts."""
    units = [(role, row) for role, members in rows.items() for row in members]
    lengths = [row.length for _, row in units]
    parts = [[i] for i in range(len(units))] if alone else groups(lengths, run.train.micro_tokens)
    shown = run.progress(label, len(units), "rows") if label else nullcontext(NullReporter().task("", None, ""))
    with shown as bar:
        for part in parts:
            run.check_stop()
            members = {role: [units[i][1] for i in part if units[i][0] == role] for role in rows}
            counts = {role: Counts.of(group) for role, group in (members if alone else rows).items()}
            batch = MicroBatch.of(members, lm.template.pad_id).to(lm.device)
            forward = Forward(lm.model, batch, grad=grad)
            yield Step({role: View(forward, role, counts[role]) for role in batch.roles})
            run.spend(sum(lengths[i] for i in part))
            bar.advance(len(part))


def _sum(result: Tensor | Mapping[str, Tensor]) -> Tensor:
    return result if isinstance(result, Tensor) else torch.stack(list(result.values())).sum()


def _backward(result: Tensor | Mapping[str, Tensor]) -> None:
    total = _sum(result)
    if total.requires_grad:  # a micro-batch may hold rows of a role whose weight is zero
        total.backward()


def _clear(lm: LM) -> None:
    for parameter in lm.model.parameters():
        parameter.grad = None


def _collect(lm: LM) -> dict[str, Tensor]:
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in trainable(lm).items()}
    _clear(lm)
    if not all(bool(gradient.isfinite().all()) for gradient in found.values()):
        raise CollapseError("the gradient over all rows is not finite", "check the model: its own loss may be infinite")
    return {name: gradient.detach() for name, gradient in found.items()}
