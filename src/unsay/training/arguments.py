"""Our `Train` as `transformers.TrainingArguments`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from transformers import TrainingArguments

from ..config.plan import Train
from ..errors import PlanError

_OURS = {
    "learning_rate": "train.lr",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "per_device_train_batch_size": "train.batch",
    "gradient_accumulation_steps": "train.micro_tokens",
    "weight_decay": "train.weight_decay",
    "warmup_steps": "train.warmup",
    "warmup_ratio": "train.warmup",
    "lr_scheduler_type": "train.schedule",
    "max_grad_norm": "train.max_grad_norm",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "seed": "seed",
    "data_seed": "seed",
    "save_steps": "train.checkpoint_every",
    "save_strategy": "train.checkpoint_every",
    "output_dir": "out",
}


def training_arguments(train: Train, *, steps: int, seed: int, folder: Path, cpu: bool) -> TrainingArguments:
    """What the Trainer is told. Clipping, saving, logging and accumulation are done by us, so it is told to do none.

    Args:
        train: Settings of the run.
        steps: Optimiser steps in all.
        seed: Of the run.
        folder: Where it may make a folder; nothing is written to it.
        cpu: Stay on the CPU even if there is an accelerator.

    Raises:
        PlanError: `train.extra` names no field, or one that `train` has its own word for, or a value it refuses.
    """
    known = {f.name for f in dataclasses.fields(TrainingArguments)}
    for name in train.extra:
        if name in _OURS:
            raise PlanError(f"train.extra.{name}: that is {_OURS[name]} here", f"set {_OURS[name]} instead")
        if name not in known:
            raise PlanError(
                f"train.extra.{name}: transformers.TrainingArguments has no such field",
                "see its documentation for the names",
            )
    settings = {
        "output_dir": str(folder),
        "learning_rate": train.lr,
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "weight_decay": train.weight_decay,
        "warmup_steps": round(train.warmup * steps),
        "lr_scheduler_type": train.schedule,
        "max_grad_norm": 0.0,
        "seed": seed % 2**31,
        "use_cpu": cpu,
        "save_strategy": "no",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        **train.extra,
    }
    try:
        return TrainingArguments(**settings)
    except (TypeError, ValueError) as error:
        raise PlanError(f"train: {error}", "see transformers.TrainingArguments for what it accepts") from error
