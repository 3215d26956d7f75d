"""How far to go along a direction: as far as the retain rows allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import MethodError
from ..models.search import longest_step
from .full_gradient import Rows, mean_nll, norm, place, total_loss

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_FIRST = 1e-3
"""Length of the first step tried, as a share of the length of the weights."""


def step_within(
    subject: LM,
    origin: LM,
    direction: Mapping[str, Tensor],
    retain: Rows,
    run: Run,
    *,
    tolerance: float,
    most: float = math.inf,
) -> float:
    """Move `subject` along `direction` as far as the perplexity of the retain rows allows: (1 + tolerance) · before.

    Perplexity and not the loss: a model that knows its retain rows by heart has next to no loss to take a share of.

    Args:
        subject: A `working_copy` of `origin`; ends at the step that was found.
        origin: Where the step starts; not changed.
        direction: By parameter name.
        retain: Rows with the single role ``retain``.
        run: For progress, signals and the log.
        tolerance: Share by which the perplexity of the retain answers may rise: the mean NLL by ln(1 + tolerance) nats.
        most: The longest step allowed, in units of `direction`.

    Returns:
        The length of the step, in units of `direction`.

    Raises:
        MethodError: the direction is zero, or the shortest step breaks the bound.
    """
    length = norm(direction)
    if length == 0:
        raise MethodError("the direction to move along is zero", "check that the forget rows are not the retain rows")
    moved = dict(origin.model.named_parameters())
    unit = _FIRST * norm({name: moved[name] for name in direction}) / length
    losses: dict[float, float] = {}

    def loss(at: float) -> float:
        place(subject, origin, direction, at)
        losses[at] = total_loss(subject, retain, mean_nll("retain"), run, label="")
        bar.advance()
        return losses[at]

    with run.progress("line search", None, "steps") as bar:
        before = loss(0.0)
        found = longest_step(loss, before + math.log1p(tolerance), most if math.isfinite(most) else unit, most=most)
    place(subject, origin, direction, found)
    run.log(step_length=found, retain_before=before, retain_after=losses[found], tried=len(losses))
    return found
