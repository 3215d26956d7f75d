"""A number with its n, its interval and its reason when missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from .have import Measurements
from .needs import Need


@dataclass(frozen=True)
class Score:
    """The result of one metric on one model."""

    value: float
    """NaN when unscored; `note` then says why."""
    per_example: Mapping[str, float] = field(default_factory=dict)
    """By `Example.id`."""
    n: int = 0
    """Examples behind the value."""
    ci: tuple[float, float] | None = None
    """95 % interval; clustered by entity where rows name one."""
    note: str = ""
    clusters: int = 0
    """Entities behind the interval; 0 when rows name none."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """Companions worth printing beside the value (KS distance, |AUC − 0.5|, …)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By `Example.id`: what an entry of `per_example` means, where it stands for a class."""

    @property
    def scored(self) -> bool:
        """Whether there is a number at all."""
        return not math.isnan(self.value)


def unscored(reason: str) -> Score:
    """A score without a number, and why."""
    return Score(value=math.nan, note=reason)


@runtime_checkable
class Metric(Protocol):
    """What every metric is: a frozen dataclass with a `split` field (or none), `needs` and a pure `score`."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What must be measured first."""
        ...

    def score(self, have: Measurements) -> Score:
        """The number. Pure: the same measurements give the same score; never raises for degenerate rows."""
        ...


def metric_id(metric: Metric) -> str:
    """``truth-ratio@forget``; a metric over several splits has no suffix. An explicit `label` field wins."""
    from ..naming import kebab

    label = getattr(metric, "label", "")
    name = label or kebab(type(metric).__name__)
    split = getattr(metric, "split", "")
    return f"{name}@{split}" if split else name
