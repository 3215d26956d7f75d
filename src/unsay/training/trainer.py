"""The only `transformers.Trainer` subclass: one optimiser step per batch, whatever the batch is split into."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback

from ..errors import CollapseError, MethodError, NeedError, PlanError, RunError
from ..models.layers import head_is_plain
from ..runs import atomic, checkpoint
from .arguments import training_arguments
from .forward import Forward
from .heap import steady_heap
from .schedule import Batch, Schedule
from .state import finished, read_optimiser, read_random, read_weights, write_state
from .step import Ref, Step, View
from .weights import Weights

if TYPE_CHECKING:
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
    layers: tuple[str, ...] = ()
    ref: Ref | None = None
    label: str = "train"
    """Shown by the progress bar."""


def optimise(model: PreTrainedModel, weights: Weights, job: Job, run: Run) -> None:
    """Take the steps of `job`, from its newest checkpoint if there is one.

    Raises:
        CollapseError: a loss or gradient is not finite; the last checkpoint is kept.
        Interrupted: a signal came; a checkpoint was written first.
        RunError: the checkpoint was made with another number of threads or another precision.
    """
    root = _folder(run, job.key)
    start, found = _resume(root, weights, run)
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
        guide = _Guide(weights, job, run, root, start, found, bar.advance)
        trainer = _Trainer(model, arguments, weights, job, guide)
        head_is_plain(model)  # found out now: it passes through the modes of every module
        _set_modes(model, checkpointing=bool(arguments.gradient_checkpointing))
        trainer.train()
    if found is not None or guide.saved:  # long enough to be worth keeping until the caller has saved the model
        checkpoint.commit(
            root, job.schedule.steps, lambda to: write_state(to, weights.trained, None, None), _meta(weights)
        )
        checkpoint.prune(root, 1)


def discard_checkpoints(run: Run) -> None:
    """Remove the checkpoints of a run whose model has been saved."""
    atomic.discard(run.path("checkpoints"))


class _Trainer(Trainer):
    def __init__(self, model: PreTrainedModel, arguments: Any, weights: Weights, job: Job, guide: _Guide):
        self._network, self._weights, self._job, self._guide = model, weights, job, guide
        super().__init__(model=model, args=arguments, train_dataset=job.schedule, callbacks=[guide])
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader:
        """Batches from the first step not yet taken. A loader draws from the global generator unless given one."""
        steps = range(self._guide.start, self._job.schedule.steps)
        return DataLoader(self._job.schedule, batch_size=None, sampler=steps, generator=torch.Generator())

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        """One batch is one optimiser step, and knows its own counts."""
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
                kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self._network)
                self.optimizer = kind(groups, **settings)
            except (TypeError, ValueError) as error:
                raise PlanError(f"train.extra: the optimiser refuses its settings: {error}") from error
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of every micro-batch of a `Batch`."""
        self._weights.zero_grad()
        for micro in inputs.micros:
            micro = micro.to(self.args.device)
            forward = Forward(model, micro, self._job.layers)
            step = Step({role: View(forward, role, inputs.counts[role], self._job.ref) for role in micro.roles})
            with self.compute_loss_context_manager():
                terms = _terms(self._job.loss(step))
            total = torch.stack([term for term in terms.values()]).sum()
            if total.requires_grad:  # a micro-batch may hold rows of a role whose weight is zero
                self.accelerator.backward(total)
            self._guide.add(terms)
        self._weights.settle()
        self._guide.batch = inputs
        return self._guide.total()

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


class _Guide(TrainerCallback):
    """What happens around the steps: restore, clip, refresh, log, save, stop."""

    def __init__(
        self,
        weights: Weights,
        job: Job,
        run: Run,
        root: Path,
        start: int,
        found: Path | None,
        advance: Callable[[float], None],
    ):
        self.start, self.saved = start, False
        self.batch: Batch | None = None
        self._weights, self._job, self._run, self._root, self._found = weights, job, run, root, found
        self._advance = advance
        self._sums: dict[str, Tensor] = {}
        self._norm = self._rate = math.nan

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """One micro-batch's share of every term."""
        for name, term in terms.items():
            term = term.detach()
            self._sums[name] = self._sums[name] + term if name in self._sums else term

    def total(self) -> Tensor:
        """Loss of the step so far."""
        return torch.stack(list(self._sums.values())).sum()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on where the checkpoint stands."""
        state.global_step = self.start
        if self._found is not None:
            read_optimiser(self._found, kwargs["optimizer"], kwargs["lr_scheduler"])
            read_random(self._found)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Clip, and stop before anything that is not finite reaches the weights."""
        self._rate = kwargs["lr_scheduler"].get_last_lr()[0]
        gradients = [p for p in self._weights.trained.values() if p.grad is not None]
        self._norm = float(nn.utils.clip_grad_norm_(gradients, self._run.train.max_grad_norm))
        loss = float(self.total())
        if not (math.isfinite(loss) and math.isfinite(self._norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise CollapseError(
                f"the {what} of step {state.global_step + 1} is not finite; the weights before it are kept",
                "lower train.lr, or take fewer epochs",
            )

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The forward sees the new weights."""
        self._weights.refresh()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log; save when it is due or a signal came."""
        step, every = state.global_step, self._run.train.checkpoint_every
        terms = {name: float(value) for name, value in self._sums.items()}
        extra = {} if set(terms) == {"loss"} else terms
        tokens = self.batch.real_tokens if self.batch else 0
        self._run.spend(tokens)
        self._run.log(step=step, loss=sum(terms.values()), **extra, grad_norm=self._norm, lr=self._rate, tokens=tokens)
        self._sums = {}
        self._advance(1)
        last = step >= self._job.schedule.steps
        if not last and ((every > 0 and step % every == 0) or self._run.stopping):
            optimiser = kwargs["optimizer"]
            checkpoint.commit(
                self._root,
                step,
                lambda to: write_state(to, self._weights.trained, optimiser, kwargs["lr_scheduler"]),
                _meta(self._weights, events=self._run.events_mark()),
            )
            checkpoint.prune(self._root)
            self.saved = True
        if not last:
            self._run.check_stop()


def _terms(result: Tensor | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(result, Tensor):
        return {"loss": result}
    if not result:
        raise NeedError("the objective returned no term", "return a scalar tensor, or a dict of them")
    return result


def _meta(weights: Weights, **more: Any) -> dict[str, Any]:
    return {"threads": torch.get_num_threads(), "precision": weights.precision, **more}


def _folder(run: Run, key: str) -> Path:
    return run.path("checkpoints", key[:16])


def saved_precision(run: Run, key: str) -> str | None:
    """Precision of the checkpoint a training would resume from: ``auto`` must not change its mind in between."""
    found = checkpoint.newest(_folder(run, key))
    return found[2]["precision"] if found else None


def _resume(root: Path, weights: Weights, run: Run) -> tuple[int, Path | None]:
    """The step to go on from, with the weights of that step in place."""
    origin = root / "start.json"
    found = checkpoint.newest(root, say=run.note)
    if found is None:
        if origin.exists():
            run.events_rewind(int(origin.read_text(encoding="utf-8")))
        elif run.train.checkpoint_every > 0:
            root.mkdir(parents=True, exist_ok=True)
            atomic.write_text(origin, str(run.events_mark()))
        return 0, None
    step, folder, meta = found
    threads = torch.get_num_threads()
    if meta["threads"] != threads:
        raise RunError(
            f"this training was begun with {meta['threads']} threads and would go on with {threads}: "
            "the result would differ from an uninterrupted one",
            f"OMP_NUM_THREADS={meta['threads']}, or --overwrite to start again",
        )
    if meta["precision"] != weights.precision:
        raise RunError(
            f"this training was begun in {meta['precision']} and would go on in {weights.precision}",
            f"train.precision={meta['precision']}",
        )
    read_weights(folder, weights.trained)
    weights.refresh()
    if finished(folder):
        return step, folder
    run.events_rewind(meta["events"])
    return step, folder


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
