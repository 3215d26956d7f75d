"""What a loss-based method inherits: rows → batches, the reference, the steps, a new LM."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ..data.checks import check_lengths
from ..data.example import Example, ForgetData, rows_fingerprint
from ..errors import MethodError
from ..naming import digest, kebab
from ..registry import name_of
from ..tokens._token_weights import Item
from ..tokens.all import All
from .attention import speed_up_attention
from .batch import Row, encode_rows
from .packed import is_packed
from .plugs import Plugs
from .reference import AdapterOff, FrozenCopy, Mode, Uses, cached_logps, choose, roles_read
from .scan import ModelWatch, TokenScorer, special_ids
from .schedule import Schedule
from .step import Ref, Step
from .trainer import Job, Loss, optimise, saved_precision
from .weights import Weights, pick_precision

if TYPE_CHECKING:
    from ..config.plan import Train
    from ..models.lm import LM
    from ..runs.run import Run


class GradientMethod:
    """Base of methods that are a loss: a frozen keyword-only dataclass with `loss`, and maybe these facts."""

    uses_reference: ClassVar[Uses] = False
    """``True``: reads ``step.<role>.ref``; ``"logps"``: only its log-probabilities, which can then be cached."""
    uses_retain: ClassVar[bool] = True
    """Whether there is a ``retain`` role; may be a property."""
    paired: ClassVar[bool] = False
    """Whether all rows of one item must meet in one micro-batch."""
    shallow: ClassVar[bool] = False
    """Whether `loss` reads nothing but ``hidden`` of `layers`: nothing above them runs then; may be a property."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What `loss` reads with ``hidden``: module names, numbers of decoder layers, shares of the depth (``1/4``)."""
        return ()

    def plugs(self, lm: LM, data: ForgetData, run: Run) -> Plugs:
        """What the training takes besides the loss: combiner, token weights, stopping rule, bounds."""
        return Plugs()

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
        return train_by(self, lm, data, run, self.plugs(lm, data, run))


def train_by(
    method: GradientMethod, lm: LM, data: ForgetData, run: Run, plugs: Plugs, *, identity: object = None
) -> LM:
    """`method.unlearn` with other plugs than its own, for methods that wrap another.

    Args:
        method: The objective.
        lm: Not changed.
        data: What the roles are taken from.
        run: Settings, seed and folder.
        plugs: In the place of ``method.plugs``.
        identity: What stands for the whole in the checkpoint's key; `method` when None.
    """
    return train(
        lm,
        method.roles(data, run),
        method.loss,
        run,
        layers=method.layers,
        shallow=method.shallow,
        paired=method.paired,
        uses_reference=method.uses_reference,
        identity=identity or method,
        label=name_of(type(method)) or kebab(type(method).__name__),
        plugs=plugs,
    )


def train(
    lm: LM,
    roles: Mapping[str, Sequence[Example]],
    loss: Loss,
    run: Run,
    *,
    layers: tuple[str, ...] = (),
    shallow: bool = False,
    paired: bool = False,
    uses_reference: Uses = False,
    identity: object = None,
    label: str = "train",
    plugs: Plugs | None = None,
) -> LM:
    """Take the optimiser steps that ``run.train`` asks for on a copy of `lm`.

    Args:
        lm: The model to start from; not changed.
        roles: Rows by role; the first drives.
        loss: The objective.
        run: Settings, seed and folder.
        layers: Modules whose output the objective reads.
        shallow: It reads nothing else.
        paired: Keep the rows of an item in one micro-batch.
        uses_reference: What the objective reads of `lm` as the frozen reference.
        identity: A dataclass (or JSON value) that stands for the objective in the checkpoint's key.
        label: For the progress bar.
        plugs: Combiner, token weights, stopping rule and bounds; None is plain training.

    Returns:
        The trained copy.

    Raises:
        MethodError: a plug does not fit the objective or the model.
    """
    settings, limit, plugs = run.train, run.plan.data.max_length, plugs or Plugs()
    mode = choose(uses_reference, settings.reference, lm.model)
    fingerprint = lm.fingerprint()
    told = {role: rows_fingerprint(rows) for role, rows in roles.items()}
    asked = {role: rows_fingerprint(rows) for role, rows in plugs.watched.items()}
    parts = [fingerprint, told, asked, list(roles), identity]
    key = digest(["train-2", *parts, type(identity).__name__, _decisive(settings), run.seed, limit, mode])
    for role, members in roles.items():
        for note in check_lengths(members, lm.template, limit, run.plan.data.truncate, role):
            run.note(note)
    rows: Mapping[str, Sequence[Row]] = {r: encode_rows(m, lm.template, limit) for r, m in roles.items()}
    subject = lm.fork()
    attention = subject.attention
    recomputes = any("checkpointing" in name and value for name, value in settings.extra.items())
    longest = max((row.length for members in rows.values() for row in members), default=0)
    speed_up_attention(subject, longest, pack=not recomputes)
    precision = pick_precision(saved_precision(run, key) or settings.precision, subject.device)
    run.record(precision=precision, threads=torch.get_num_threads())
    frozen = _select(subject, plugs.only)
    weights = Weights(subject.model, precision)
    try:
        subject.model.eval()
        rows = weighed(rows, roles, plugs, lm, subject.model, run)
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
            apart=plugs.combine.apart,
        )
        ref = _reference(mode, lm, subject, weights, layers, rows, loss, run, fingerprint, shallow)
        watched = {**{r: encode_rows(m, lm.template, limit) for r, m in plugs.watched.items()}, **_own(rows)}

        def now() -> LM:
            """The weights as they stand, in a model of their own."""
            found = lm.fork()
            with torch.no_grad():
                for name, parameter in found.model.named_parameters():
                    if name in weights.trained:
                        parameter.copy_(weights.trained[name])
            return found

        observe = run.each_epoch
        job = Job(
            schedule,
            loss,
            key,
            before=dict(lm.model.named_parameters()),
            watch=ModelWatch(subject.model, watched, lm.template.pad_id, run.seed),
            plugs=plugs,
            layers=layers,
            shallow=shallow,
            ref=ref,
            label=label,
            each_epoch=None if observe is None else lambda epoch: observe(epoch, now),
        )
        optimise(subject.model, weights, job, run)
    finally:
        weights.release()
        subject.set_attention(attention)
        for parameter in frozen:
            parameter.requires_grad_(True)
    return subject


def weighed(
    rows: Mapping[str, Sequence[Row]],
    roles: Mapping[str, Sequence[Example]],
    plugs: Plugs,
    lm: LM,
    model: nn.Module,
    run: Run,
) -> dict[str, Sequence[Row]]:
    """`rows` with the weights of the tokens of one role.

    Raises:
        MethodError: tokens are to be weighed in a role that the method does not have.
    """
    if isinstance(plugs.tokens, All):
        return dict(rows)
    role = plugs.weighted
    if role not in rows:
        raise MethodError(f"there are no {role} answers whose tokens could be weighed", "leave method.tokens out")
    special = special_ids(lm)
    items = [
        Item(
            example,
            row.tokens,
            tuple(" " if i in special else str(lm.tokenizer.decode([i])) for i in row.tokens.answer_ids),
        )
        for example, row in zip(roles[role], rows[role], strict=True)
    ]
    found = plugs.tokens.before(items, TokenScorer(lm, model, run), run.seed)
    return {**rows, role: [dataclasses.replace(row, weights=w) for row, w in zip(rows[role], found, strict=True)]}


def _own(rows: Mapping[str, Sequence[Row]]) -> dict[str, Sequence[Row]]:
    """The rows trained on, for a watch: which rest is said by their numbers."""
    return {role: rows[role] for role in ("forget", "retain") if role in rows}


def _select(lm: LM, only: Callable[[str], bool] | None) -> list[nn.Parameter]:
    """Freeze what `only` does not name, and return it."""
    if only is None:
        return []
    trained = {name: p for name, p in lm.model.named_parameters() if p.requires_grad}
    frozen = [p for name, p in trained.items() if not only(name)]
    if len(frozen) == len(trained):
        raise MethodError(
            "none of the model's parameters is among those to train",
            f"its names look like {', '.join(list(trained)[-3:])}",
        )
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


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
    shallow: bool,
) -> Ref | None:
    """The frozen model, set up before the first step, in the precision that the training uses."""
    if mode == "adapter":
        return AdapterOff(subject.model, layers, shallow=shallow)
    if mode == "copy":
        frozen = lm.fork()
        frozen.set_attention(subject.attention)
        for parameter in frozen.model.parameters():
            parameter.requires_grad_(False)
            if weights.precision == "bf16" and parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.bfloat16)
        return FrozenCopy(frozen.model, layers, shallow=shallow)
    if mode == "cache":
        read = roles_read(subject.model, rows, loss, lm.template.pad_id, layers)
        wanted = [row for role in read for row in rows[role]]
        return cached_logps(lm, subject.model, wanted, precision=weights.precision, run=run, fingerprint=fingerprint)
    return None


def _decisive(settings: Train) -> dict[str, object]:
    """The settings that the finished weights depend on."""
    kept = dataclasses.asdict(settings)
    del kept["checkpoint_every"]
    return kept
