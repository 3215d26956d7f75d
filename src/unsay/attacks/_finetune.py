"""What the attacks share that train: a plain model, after some steps of NLL on some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..config.plan import Adapter, Train
from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..methods.fine_tune import FineTune
from ..models.adapters import attach, merged
from ..models.patches import unpatched
from ..training.trainer import discard_checkpoints
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


def bare(lm: LM, run: Run) -> LM:
    """`lm` without its patches, as whoever trains or mixes weights has it; a note says which are gone."""
    if lm.patches:
        kinds = " and ".join(dict.fromkeys(type(patch).__name__.lower() for patch in lm.patches))
        run.note(f"fine-tuning attacks and linear-path change the weights alone, without the model's {kinds}")
    return unpatched(lm)


def finetuned(
    lm: LM,
    rows: Sequence[Example],
    run: Run,
    name: str,
    *,
    lr: float,
    batch: int,
    steps: int = -1,
    epochs: float = 1.0,
    schedule: Literal["linear", "constant"] = "constant",
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    adapter: Adapter | None = None,
) -> LM:
    """A plain model fine-tuned from the weights of `lm`: its patches are dropped and its adapter is merged before.

    Of ``run.train`` only what says how to compute is taken; the recipe is the attacker's own. No checkpoint stays: it
    would be a copy of the weights that was taught what was to be forgotten.

    Args:
        lm: Left as it was.
        rows: Their answers are learned.
        run: Seed, progress, folder.
        name: Of the folder inside it.
        lr: Learning rate.
        batch: Rows an optimiser step, at most as many as there are.
        steps: Optimiser steps; overrides `epochs` when positive.
        epochs: Passes over `rows`.
        schedule: Of the learning rate.
        warmup: Share of the steps.
        weight_decay: AdamW's.
        adapter: Train a LoRA adapter like this and merge it; None trains all weights.
    """
    train = Train(
        lr=lr,
        batch=min(batch, len(rows)),
        epochs=epochs,
        max_steps=steps,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        checkpoint_every=0,
        micro_tokens=run.train.micro_tokens,
        precision=run.train.precision,
    )
    start = merged(bare(lm, run))
    if adapter:
        start = attach(start, adapter, seed=run.seed)
    inner = run.sub(name, train=train)
    tuned = FineTune(on="forget").unlearn(start, ForgetData(forget=rows), inner)
    discard_checkpoints(inner)
    return replace(merged(tuned), origin=lm.origin)


def curve(lm: LM, rows: Sequence[Example], run: Run, *, steps: Sequence[int], lr: float, batch: int) -> Iterator[Probe]:
    """`finetuned` for every count of `steps`, fewest first; every count starts from `lm`."""
    for count in sorted(steps):
        name = f"step-{count}"
        yield Probe(name, finetuned(lm, rows, run, name, lr=lr, batch=batch, steps=count), at=count)


def check_steps(steps: Sequence[int], name: str = "steps") -> None:
    """Raise when `steps` are no different positive counts.

    Raises:
        PlanError: they are not.
    """
    if not steps or min(steps) < 1 or len(set(steps)) < len(steps):
        raise PlanError(f"{name}: should be different positive counts, got {steps!r}")


def check_recipe(lr: float, batch: int) -> None:
    """Raise when nothing could be trained so.

    Raises:
        PlanError: a number is not positive.
    """
    if lr <= 0 or batch < 1:
        raise PlanError(f"lr and batch: should be positive, got {lr!r} and {batch!r}")
