"""The frozen dataclasses of one run. Defaults here are the program's defaults; `unsay plan` prints them resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import PlanError


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """LoRA through peft instead of full fine-tuning."""

    rank: int = 16
    alpha: float | None = None
    """Scale numerator; None is 2 × rank."""
    dropout: float = 0.0
    """Kept at 0 by default: dropout would make the policy differ from its own reference."""
    targets: tuple[str, ...] = ("all-linear",)
    """Module names or ``all-linear`` (every linear layer but the head)."""
    merge: bool = True
    """Save merged weights (a plain folder); False saves the adapter alone."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model, and how to load it."""

    path: str = "smollm2-135m"
    """A folder, a hub id, or the alias ``smollm2-135m``."""
    revision: str | None = None
    """Hub revision; a 40-hex commit pins it."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How prompts are rendered; auto is chat when the tokenizer has a template and an error otherwise."""
    adapter: Adapter | None = None
    """Train a LoRA adapter instead of all weights."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The user's rows."""

    forget: str | None = None
    """File (JSONL, JSON, CSV, Parquet), folder or hub id of the rows to forget."""
    retain: str | None = None
    """Rows to keep; without it a bundled generic set stands in, and the report says so."""
    holdout: str | None = None
    """Rows never trained on, for membership tests."""
    max_length: int = 1024
    """Tokens of prompt + answer; an answer that is cut stops the run unless `truncate`."""
    truncate: bool = False
    """Allow answers to be cut at max_length; the count is reported."""
    skip_invalid: int = 0
    """How many malformed rows may be left out instead of stopping the run."""


@dataclass(frozen=True, kw_only=True)
class RecAdam:
    """Adam that is pulled toward the first weights, less and less: see training/recadam.py."""

    pull: float = 5000.0
    """Strength of the pull; times the learning rate it is the share of the way back that one step takes."""
    midpoint: float = 0.25
    """Share of the training after which pull and gradient weigh the same."""
    slope: float = 20.0
    """How fast the one gives way to the other."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """How gradient steps are taken."""

    lr: float = 1e-5
    epochs: float = 5.0
    """Passes over the forget set."""
    batch: int = 16
    """Effective batch: forget examples per optimiser step, over all devices."""
    micro_tokens: int = 1024
    """Tokens (padding included) per forward; the memory knob. Changes no result beyond rounding."""
    max_steps: int = -1
    """Optimiser steps; overrides epochs when positive."""
    weight_decay: float = 0.01
    warmup: float = 0.0
    """Share of steps spent warming up."""
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    max_grad_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 works on a bf16 copy of fp32 master weights; auto picks it where the device multiplies bf16 faster."""
    reference: Literal["auto", "copy", "adapter", "cache"] = "auto"
    """Where the frozen model's numbers come from; auto picks the cheapest that can answer."""
    checkpoint_every: int = 50
    """Optimiser steps between resumable checkpoints; 0 writes none but on a signal."""
    recadam: RecAdam | None = None
    """Use RecAdam instead of AdamW."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further `transformers.TrainingArguments` fields, checked by it."""

    def __post_init__(self) -> None:
        for name, low in (("lr", 0.0), ("epochs", 0.0), ("max_grad_norm", 0.0)):
            if not getattr(self, name) > low:
                raise PlanError(f"{name}: should be greater than {low:g}, got {getattr(self, name)!r}")
        for name, least in (
            ("batch", 1),
            ("micro_tokens", 1),
            ("checkpoint_every", 0),
            ("weight_decay", 0),
            ("warmup", 0),
        ):
            if getattr(self, name) < least:
                raise PlanError(f"{name}: should be at least {least}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Teach:
    """Fine-tune the model on the benchmark's rows first (and, for the retrained reference, without the forget rows)."""

    train: Train = field(default_factory=lambda: Train(lr=1e-4, epochs=5.0))
    retrained: bool = True
    """Also train the retrained reference with the same recipe."""
    seed: int | None = None
    """Of the teaching; None is the plan's. Set it to compare seeds of a method on one taught model."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything one run depends on. `out` and `name` do not change the plan's hash."""

    model: ModelSpec = field(default_factory=ModelSpec)
    data: DataSpec = field(default_factory=DataSpec)
    method: Any = None
    """A Method; in a document `{name: npo, beta: 0.1}`. None is npo."""
    train: Train = field(default_factory=Train)
    benchmark: Any = None
    """A Benchmark; in a document `{name: tofu, split: forget01}`. None is custom: the user's own rows."""
    teach: Teach | None = None
    """Make the before model (and the retrained one) by fine-tuning; None takes `model` as the before model."""
    retrained: str | None = None
    """Folder or hub id of a model retrained without the forget rows, when one exists."""
    metrics: tuple[Any, ...] = ()
    """Metrics besides the benchmark's own, each `{name: calibrated-strength, …}`."""
    attacks: tuple[Any, ...] = ()
    """Attacks, each `{name: relearn, …}`."""
    seed: int = 0
    redact: bool = False
    """Hide the texts of the forget rows in the report."""
    name: str | None = None
    """Label of the run; None derives one."""
    out: str | None = None
    """Run folder; None is runs/<name>-<method>-<hash>."""
