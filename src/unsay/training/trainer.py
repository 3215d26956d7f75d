"""The only `transformers.Trainer` subclass: one optimiser step per batch, whatever the batch is split into."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer

from ..combiners._combiner import Watch
from ..errors import MethodError, NeedError, PlanError
from ..models.layers import head_is_plain
from ..runs import atomic, checkpoint
from .arguments import training_arguments
from .batch import MicroBatch
from .forward import Forward
from .guide import Guide, meta, resume
from .heap import steady_heap
from .plugs import Plugs
from .recadam import RecAdam
from .schedule import Batch, Schedule
from .state import write_state
from .step import Ref, Step, View
from .weights import Weights

if TYPE_CHECKING:
    from ..config.plan import Train
    from ..runs.run import Run

Loss = Callable[[Step], "Tensor | Mapping[str, Tensor]"]
"""An objective: one number, or named terms that are added up."""


@dataclass(frozen=True)
class Job:
    """Everything about one training but the model."""

    schedule: Schedule
    loss: Loss
    key: str
    """Hash of everything the result depends on; checkpoints are found by it."""
    before: Mapping[str, Tensor]
    """Every parameter as it was before the first step."""
    watch: Watch
    plugs: Plugs = field(default_factory=Plugs)
    layers: tuple[str, ...] = ()
    shallow: bool = False
    ref: Ref | None = None
    label: str = "train"
    """Shown by the progress bar."""
    each_epoch: Callable[[int], None] | None = None
    """Called after each epoch, with its number from 1; it must not change the weights."""


def optimise(model: PreTrainedModel, weights: Weights, job: Job, run: Run) -> None:
    """Take the steps of `job`, from its newest checkpoint if there is one.

    Raises:
        CollapseError: a loss or gradient is not finite; the last checkpoint is kept.
        Interrupted: a signal came; a checkpoint was written first.
        RunError: the checkpoint was made with another number of threads or another precision.
    """
    root = _folder(run, job.key)
    found = resume(root, weights, run)
    start = found.step if found else 0
    if start >= job.schedule.steps:
        return
    device = next(model.parameters()).device
    arguments = training_arguments(
        run.train, steps=job.schedule.steps, seed=run.seed, folder=root, cpu=device.type == "cpu"
    )
    if arguments.world_size > 1:
        raise MethodError(f"training in {arguments.world_size} processes is not supported", "start a single process")
    with run.progress(job.label, job.schedule.steps, "steps") as bar, steady_heap(), _as_found(model):
        bar.advance(start)
        guide = Guide(weights, job, run, root, found, bar.advance)
        trainer = _Trainer(model, arguments, weights, job, guide, run.train)
        head_is_plain(model)  # found out now: it passes through the modes of every module
        _set_modes(model, checkpointing=bool(arguments.gradient_checkpointing))
        trainer.train()
    if found is not None or guide.saved:  # long enough to be worth keeping until the caller has saved the model
        checkpoint.commit(
            root, job.schedule.steps, lambda to: write_state(to, weights.trained, None, None), meta(weights)
        )
        checkpoint.prune(root, 1)


def discard_checkpoints(run: Run) -> None:
    """Remove the checkpoints of a run whose model has been saved, and those of the runs inside it."""
    for folder in sorted(run.dir.rglob("checkpoints")):
        atomic.discard(folder)


class _Trainer(Trainer):
    def __init__(self, model: PreTrainedModel, arguments: Any, weights: Weights, job: Job, guide: Guide, train: Train):
        self._network, self._weights, self._job, self._guide, self._train = model, weights, job, guide, train
        # loaders look ahead, and which rows rest is only known when a step begins: they are given its number alone
        self._steps = range(job.schedule.steps)
        super().__init__(model=model, args=arguments, train_dataset=self._steps, callbacks=[guide])
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader:
        """Numbers of the steps not yet taken. A loader draws from the global generator unless given one."""
        ahead = self._steps[self._guide.start :]
        return DataLoader(self._steps, batch_size=None, sampler=ahead, generator=torch.Generator())  # type: ignore[arg-type]

    def get_batch_samples(self, epoch_iterator: Iterator[int], num_batches: int, device: torch.device) -> Any:
        """One number is one optimiser step, whose batch knows its own counts."""
        return [next(epoch_iterator)], None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimiser that the arguments name, over the float32 weights."""
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self._network))
            trained = self._weights.trained
            groups = [
                {"params": [p for n, p in trained.items() if n in decayed], "weight_decay": self.args.weight_decay},
                {"params": [p for n, p in trained.items() if n not in decayed], "weight_decay": 0.0},
            ]
            try:
                if self._train.recadam is not None:
                    anchors = {id(p): self._job.before[n] for n, p in trained.items()}
                    self.optimizer = RecAdam(
                        groups,
                        anchors,
                        lr=self.args.learning_rate,
                        steps=self._job.schedule.steps,
                        settings=self._train.recadam,
                        betas=(self.args.adam_beta1, self.args.adam_beta2),
                        eps=self.args.adam_epsilon,
                    )
                else:
                    kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self._network)
                    self.optimizer = kind(groups, **settings)
            except (TypeError, ValueError) as error:
                raise PlanError(f"train.extra: the optimiser refuses its settings: {error}") from error
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of every micro-batch of the step whose number is given."""
        self._weights.zero_grad()
        job, guide = self._job, self._guide
        batch = guide.begin(int(inputs))
        apart: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        for micro in batch.micros:
            step = self._step(model, micro.to(self.args.device), batch)
            with self.compute_loss_context_manager():
                terms = _terms(job.loss(step))
            guide.add(terms)
            sides = guide.sides(terms)
            # a micro-batch may hold rows of one side alone, or of a role whose weight is zero
            live = [(n, side) for n, side in enumerate(sides) if side is not None and side.requires_grad]
            if not job.plugs.combine.apart:
                if live:
                    self.accelerator.backward(torch.stack([side for _, side in live]).sum())
                continue
            for n, side in live:
                self.accelerator.backward(side, retain_graph=n == 0 and len(live) > 1)
                self._weights.take(apart[n])
        if job.plugs.combine.apart:
            self._weights.give(guide.merge(*apart))
        self._weights.settle()
        return guide.total()

    def _step(self, model: nn.Module, micro: MicroBatch, batch: Batch) -> Step:
        job, tokens = self._job, self._job.plugs.tokens
        forward = Forward(model, micro, job.layers, shallow=job.shallow)
        weighted = job.plugs.weighted if tokens.dynamic else ""
        return Step(
            {
                role: View(forward, role, batch.counts[role], job.ref, tokens.now if role == weighted else None)
                for role in micro.roles
            }
        )

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


def _terms(result: Tensor | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(result, Tensor):
        return {"loss": result}
    if not result:
        raise NeedError("the objective returned no term", "return a scalar tensor, or a dict of them")
    return result


def _folder(run: Run, key: str) -> Path:
    return run.path("checkpoints", key[:16])


def saved_precision(run: Run, key: str) -> str | None:
    """Precision of the checkpoint a training would resume from: ``auto`` must not change its mind in between."""
    found = checkpoint.newest(_folder(run, key))
    return found[2]["precision"] if found else None


def _set_modes(model: nn.Module, *, checkpointing: bool) -> None:
    """No dropout but LoRA's own: the model must not differ from its own reference by noise."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.eval()
    for name, module in model.named_modules():
        if "lora_dropout" in name or (checkpointing and isinstance(module, GradientCheckpointingLayer)):
            module.training = True


@contextlib.contextmanager
def _as_found(model: PreTrainedModel) -> Iterator[None]:
    """The Trainer changes the model's configuration and mode; put both back."""
    config, mode = model.config, model.training
    cache = config.use_cache
    try:
        yield
    finally:
        config.use_cache = cache
        model.train(mode)
