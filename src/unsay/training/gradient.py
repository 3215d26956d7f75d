"""What a loss-based method inherits: rows → batches, the reference, the steps, a new LM."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ..data.checks import check_lengths
from ..data.example import Example, ForgetData, rows_fingerprint
from ..naming import digest, kebab
from ..registry import name_of
from .attention import speed_up_attention
from .batch import Row, encode_rows
from .packed import is_packed
from .reference import AdapterOff, FrozenCopy, Mode, Uses, cached_logps, choose, roles_read
from .schedule import Schedule
from .step import Ref, Step
from .trainer import Job, Loss, optimise, saved_precision
from .weights import Weights, pick_precision

if TYPE_CHECKING:
    from ..config.plan import Train
    from ..models.lm import LM
    from ..runs.run import Run

RetainTerm = Literal["none", "nll", "kl"]
"""What holds the retain rows in place: nothing, their negative log-likelihood, or KL(reference ‖ model)."""


class GradientMethod:
    """Base of methods that are a loss: a frozen keyword-only dataclass with `loss`, and maybe these facts."""

    uses_reference: ClassVar[Uses] = False
    """``True``: reads ``step.<role>.ref``; ``"logps"``: only its log-probabilities, which can then be cached."""
    uses_retain: ClassVar[bool] = True
    """Whether there is a ``retain`` role; may be a property."""
    paired: ClassVar[bool] = False
    """Whether all rows of one item must meet in one micro-batch."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules whose output `loss` reads with ``hidden``."""
        return ()

    def roles(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """Rows by role. An epoch is one pass over the first; ``retain`` is drawn, others go along by index."""
        roles: dict[str, Sequence[Example]] = {"forget": data.forget}
        if self.uses_retain:
            roles["retain"] = data.retain
        return roles

    def loss(self, step: Step) -> Tensor | dict[str, Tensor]:
        """The objective on one micro-batch: a number, or named terms that are added up.

        Means must be taken with the views' ``nll``, ``kl``, ``mean`` and ``token_mean``: they divide by the counts
        of the whole accumulated batch.
        """
        raise NotImplementedError

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Train a copy of `lm` by this loss.

        Args:
            lm: Left as it is; also the reference.
            data: What the roles are taken from.
            run: Training settings, seed, folder for checkpoints.

        Returns:
            The trained model in float32; an adapter stays an adapter.

        Raises:
            DataError: a role has no rows.
            MethodError: the method cannot work with this model or reference.
            CollapseError: loss or gradient became non-finite.
            Interrupted: a signal came; calling again resumes.
        """
        return train(
            lm,
            self.roles(data, run),
            self.loss,
            run,
            layers=self.layers,
            paired=self.paired,
            uses_reference=self.uses_reference,
            identity=self,
            label=name_of(type(self)) or kebab(type(self).__name__),
        )


def train(
    lm: LM,
    roles: Mapping[str, Sequence[Example]],
    loss: Loss,
    run: Run,
    *,
    layers: tuple[str, ...] = (),
    paired: bool = False,
    uses_reference: Uses = False,
    identity: object = None,
    label: str = "train",
) -> LM:
    """Take the optimiser steps that ``run.train`` asks for on a copy of `lm`.

    Args:
        lm: The model to start from; not changed.
        roles: Rows by role; the first drives.
        loss: The objective.
        run: Settings, seed and folder.
        layers: Modules whose output the objective reads.
        paired: Keep the rows of an item in one micro-batch.
        uses_reference: What the objective reads of `lm` as the frozen reference.
        identity: A dataclass (or JSON value) that stands for the objective in the checkpoint's key.
        label: For the progress bar.

    Returns:
        The trained copy.
    """
    settings, limit = run.train, run.plan.data.max_length
    mode = choose(uses_reference, settings.reference, lm.model)
    fingerprint = lm.fingerprint()
    parts = [fingerprint, {role: rows_fingerprint(rows) for role, rows in roles.items()}, list(roles), identity]
    key = digest(["train-1", *parts, type(identity).__name__, _decisive(settings), run.seed, limit, mode])
    for role, members in roles.items():
        for note in check_lengths(members, lm.template, limit, run.plan.data.truncate, role):
            run.note(note)
    rows = {role: encode_rows(members, lm.template, limit) for role, members in roles.items()}
    subject = lm.fork()
    attention = subject.attention
    recomputes = any("checkpointing" in name and value for name, value in settings.extra.items())
    longest = max((row.length for members in rows.values() for row in members), default=0)
    speed_up_attention(subject, longest, pack=not recomputes)
    schedule = Schedule(
        rows,
        seed=run.seed,
        batch=settings.batch,
        micro_tokens=settings.micro_tokens,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        paired=paired,
        pad_id=lm.template.pad_id,
        packed=is_packed(subject.model),
    )
    precision = pick_precision(saved_precision(run, key) or settings.precision, subject.device)
    run.record(precision=precision, threads=torch.get_num_threads())
    weights = Weights(subject.model, precision)
    try:
        ref = _reference(mode, lm, subject, weights, layers, rows, loss, run, fingerprint)
        optimise(subject.model, weights, Job(schedule, loss, key, layers, ref, label), run)
    finally:
        weights.release()
        subject.set_attention(attention)
    return subject


def retain_term(step: Step, kind: RetainTerm) -> Tensor:
    """The loss on the retain rows of a step: ``nll``, or ``kl`` to the reference (which must be readable in full)."""
    return step.retain.kl if kind == "kl" else step.retain.nll


def _reference(
    mode: Mode | None,
    lm: LM,
    subject: LM,
    weights: Weights,
    layers: tuple[str, ...],
    rows: Mapping[str, Sequence[Row]],
    loss: Loss,
    run: Run,
    fingerprint: str,
) -> Ref | None:
    """The frozen model, set up before the first step, in the precision that the training uses."""
    if mode == "adapter":
        return AdapterOff(subject.model, layers)
    if mode == "copy":
        frozen = lm.fork()
        frozen.set_attention(subject.attention)
        for parameter in frozen.model.parameters():
            parameter.requires_grad_(False)
            if weights.precision == "bf16" and parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.bfloat16)
        return FrozenCopy(frozen.model, layers)
    if mode == "cache":
        subject.model.eval()
        read = roles_read(subject.model, rows, loss, lm.template.pad_id, layers)
        wanted = [row for role in read for row in rows[role]]
        return cached_logps(lm, subject.model, wanted, precision=weights.precision, run=run, fingerprint=fingerprint)
    return None


def _decisive(settings: Train) -> dict[str, object]:
    """The settings that the finished weights depend on."""
    kept = dataclasses.asdict(settings)
    del kept["checkpoint_every"]
    return kept
