"""What happens around the steps of a training: restore, combine, clip, bound, refresh, log, look, save, stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from ..combiners._combiner import State, inner
from ..errors import CollapseError, RunError
from ..runs import atomic, checkpoint
from .schedule import DRAWN, Batch
from .state import finished, read_optimiser, read_random, read_weights, write_state
from .weights import Weights

if TYPE_CHECKING:
    from ..runs.run import Run
    from .trainer import Job


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from."""

    step: int
    folder: Path
    state: State
    """Of the plug-points."""


class Guide(TrainerCallback):
    """The callback of the one Trainer. What it carries from step to step stands in `state`, and in every checkpoint."""

    def __init__(
        self, weights: Weights, job: Job, run: Run, root: Path, found: Found | None, advance: Callable[[float], None]
    ):
        self.start, self.saved = found.step if found else 0, False
        self._weights, self._job, self._run, self._root, self._found = weights, job, run, root, found
        self._advance = advance
        self._batch: Batch | None = None
        self._sums: dict[str, Tensor] = {}
        self._factors = (1.0, 1.0)
        self._angle = math.nan
        self._norm = self._rate = math.nan
        plugs = job.plugs
        fresh = {} if found else {"combine": plugs.combine.start(job.watch), "stop": plugs.stop.start(job.watch)}
        self._state: State = found.state if found else {**fresh, "resting": []}
        job.schedule.resting = frozenset(self._state["resting"])

    def begin(self, step: int) -> Batch:
        """The rows of a step."""
        schedule = self._job.schedule
        self._factors = self._job.plugs.combine.factors(step, schedule.steps, self._state["combine"])
        self._batch = schedule[step]
        return self._batch

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """One micro-batch's share of every term."""
        for name, term in terms.items():
            term = term.detach()
            self._sums[name] = self._sums[name] + term if name in self._sums else term

    def sides(self, terms: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """The forget terms' sum and the retain term, each with its factor."""
        forget = [term for name, term in terms.items() if name != DRAWN]
        return (
            torch.stack(forget).sum() * self._factors[0] if forget else None,
            terms[DRAWN] * self._factors[1] if DRAWN in terms else None,
        )

    def merge(self, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient out of two, both with an entry for every parameter that either reaches."""
        for name in forget.keys() - retain.keys():
            retain[name] = torch.zeros_like(forget[name])
        for name in retain.keys() - forget.keys():
            forget[name] = torch.zeros_like(retain[name])
        names = sorted(forget)
        one, other = [forget[n] for n in names], [retain[n] for n in names]
        lengths = math.sqrt(inner(one, one) * inner(other, other))
        self._angle = inner(one, other) / lengths if lengths else math.nan
        self._job.plugs.combine.merge(one, other)
        return retain

    def total(self) -> Tensor:
        """Loss of the step so far."""
        return torch.stack([side for side in self.sides(self._sums) if side is not None]).sum()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on where the checkpoint stands."""
        state.global_step = self.start
        if self._found is not None:
            read_optimiser(self._found.folder, kwargs["optimizer"], kwargs["lr_scheduler"])
            read_random(self._found.folder)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Bound, clip, and stop before anything that is not finite reaches the weights."""
        self._rate = kwargs["lr_scheduler"].get_last_lr()[0]
        named = {n: p.grad for n, p in self._weights.trained.items() if p.grad is not None}
        if self._job.plugs.limit is not None:
            self._job.plugs.limit.gradients(named)
        gradients = [self._weights.trained[name] for name in named]
        self._norm = float(nn.utils.clip_grad_norm_(gradients, self._run.train.max_grad_norm))
        loss = float(self.total())
        if not (math.isfinite(loss) and math.isfinite(self._norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise CollapseError(
                f"the {what} of step {state.global_step + 1} is not finite; the weights before it are kept",
                "lower train.lr, or take fewer epochs",
            )

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The forward sees the new weights, within their limits."""
        limit = self._job.plugs.limit
        if limit is not None:
            with torch.no_grad():
                for name, parameter in self._weights.trained.items():
                    limit.weights(name, parameter, self._job.before[name], self._rate)
        self._weights.refresh()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log; look; save when it is due or a signal came."""
        step, every = state.global_step, self._run.train.checkpoint_every
        schedule = self._job.schedule
        terms = {name: float(value) for name, value in self._sums.items()}
        self._log(step, terms)
        update = self._job.plugs.combine.update
        self._state["combine"] = update(terms, step / schedule.steps_per_epoch, self._state["combine"])
        self._sums = {}
        self._advance(1)
        last = step >= schedule.steps
        if self._job.each_epoch is not None and (last or step % schedule.steps_per_epoch == 0):
            self._job.each_epoch(math.ceil(step / schedule.steps_per_epoch))
        if not last and self._look(step):
            control.should_training_stop = last = True
        if not last and ((every > 0 and step % every == 0) or self._run.stopping):
            optimiser = kwargs["optimizer"]
            checkpoint.commit(
                self._root,
                step,
                lambda to: write_state(to, self._weights.trained, optimiser, kwargs["lr_scheduler"]),
                meta(self._weights, events=self._run.events_mark(), state=self._state),
            )
            checkpoint.prune(self._root)
            self.saved = True
        if not last:
            self._run.check_stop()

    def _log(self, step: int, terms: Mapping[str, float]) -> None:
        extra = {} if set(terms) == {"loss"} else dict(terms)
        if self._factors != (1.0, 1.0):
            extra |= {"forget_factor": self._factors[0], "retain_factor": self._factors[1]}
        if not math.isnan(self._angle):
            extra["cosine"] = self._angle
        tokens = self._batch.real_tokens if self._batch else 0
        self._run.spend(tokens)
        loss = float(self.total())
        self._run.log(step=step, loss=loss, **extra, grad_norm=self._norm, lr=self._rate, tokens=tokens)

    def _look(self, step: int) -> bool:
        """Whether the stopping rule ends the training here; also sets which rows rest."""
        stop, schedule = self._job.plugs.stop, self._job.schedule
        if stop.every <= 0 or step % max(1, round(stop.every * schedule.steps_per_epoch)):
            return False
        verdict = stop.look(self._job.watch, self._state["stop"])
        self._state["resting"] = list(verdict.resting)
        schedule.resting = frozenset(verdict.resting)
        if verdict.seen:
            self._run.log(step=step, **verdict.seen)
        if verdict.reason:
            self._run.note(f"stopped after {step} of {schedule.steps} steps: {verdict.reason}")
        return bool(verdict.reason)


def meta(weights: Weights, **more: Any) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return {"threads": torch.get_num_threads(), "precision": weights.precision, **more}


def resume(root: Path, weights: Weights, run: Run) -> Found | None:
    """The checkpoint to go on from, with its weights in place.

    Raises:
        RunError: it was made with another number of threads or another precision.
    """
    origin = root / "start.json"
    newest = checkpoint.newest(root, say=run.note)
    if newest is None:
        if origin.exists():
            run.events_rewind(int(origin.read_text(encoding="utf-8")))
        elif run.train.checkpoint_every > 0:
            root.mkdir(parents=True, exist_ok=True)
            atomic.write_text(origin, str(run.events_mark()))
        return None
    step, folder, about = newest
    threads = torch.get_num_threads()
    if about["threads"] != threads:
        raise RunError(
            f"this training was begun with {about['threads']} threads and would go on with {threads}: "
            "the result would differ from an uninterrupted one",
            f"OMP_NUM_THREADS={about['threads']}, or --overwrite to start again",
        )
    if about["precision"] != weights.precision:
        raise RunError(
            f"this training was begun in {about['precision']} and would go on in {weights.precision}",
            f"train.precision={about['precision']}",
        )
    read_weights(folder, weights.trained)
    weights.refresh()
    if not finished(folder):
        run.events_rewind(about["events"])
    return Found(step, folder, about.get("state", {}))
