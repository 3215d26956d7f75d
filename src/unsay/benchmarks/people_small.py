"""Six of the fictional persons, taught in seconds: the demo's benchmark.

As `people`, with 2 persons to forget, 3 to keep, 1 held out, every other world fact, and only k1 taught unless `teach`
says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .people import Kind, People


@dataclass(frozen=True, kw_only=True)
class PeopleSmall(People):
    """The `people-small` benchmark."""

    size: Literal["full", "small"] = "small"
    teach: tuple[Kind, ...] = ("k1",)
