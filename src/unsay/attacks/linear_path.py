r"""Linear path: walk from the unlearned model back to the one before, and see how soon the knowledge returns.

    θ(α) = (1 − α)·θu + α·θ0        barrier = max_α [ L(θ(α)) − (1 − α)·L(θu) − α·L(θ0) ]        distance ‖θu − θ0‖₂

Given    θ0: for the owner's audit. Nobody without the model before can do this.
Paper    Siddiqui et al. (2025). From Dormant to Deleted: Tamper-Resistant Unlearning Through Weight-Space
         Regularization. arXiv:2505.22310 (distance and linear connection to the model before predict how soon
         relearning succeeds)
Limits   At α = 1 everything is back by construction; what counts is the course, beside that of the retrained model.
         Guards, screens and offsets are dropped first.
Differs  L is the loss per answer token on forget rows, and on at most 64 utility or retain rows, in
         `train.precision`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..data.example import rows_fingerprint
from ..errors import MethodError, PlanError
from ..measure.working import resolve_precision, working
from ..models.patches import unpatched
from ..models.weights import distance, extrapolate
from ..naming import digest
from ..runs.store import Store
from ..training.attention import fast_attention
from ..training.batch import encode_rows
from ..training.coefficient import kept_rows
from ..training.scan import answer_logps, scan
from ._attack import Probe
from ._finetune import bare

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..models.lm import LM
    from ..runs.run import Run

VERSION = 1
"""Part of the store key of θ0's losses; raise it when they would come out as other numbers."""


@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """Mixtures of the weights with those of the model before."""

    places: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """α of each mixture, above 0 up to 1."""

    axis: ClassVar[str] = "share of the way back"

    def __post_init__(self) -> None:
        if not self.places or min(self.places) <= 0 or max(self.places) > 1 or len(set(self.places)) < len(self.places):
            raise PlanError(f"places: should be different, above 0 and at most 1, got {self.places!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Probe]:
        """One mixture per place, nearest to `lm` first; ``path.json`` gets distance, losses and barrier at the end.

        Args:
            lm: θu, or a control.
            data: Forget rows; utility or retain rows for the second loss, if there are any.
            run: Seed, folder, progress.
            before: θ0.

        Raises:
            MethodError: there is no model before.
            ModelError: the two are not states of one model.
        """
        if before is None:
            raise MethodError("linear-path walks to the model before unlearning, and there is none", "give before=PATH")
        start, end = bare(lm, run), unpatched(before)
        sides: dict[str, Sequence[Example]] = {"forget": data.forget}
        if data.utility or data.retain:
            sides["keep"] = kept_rows(data, run.seed)
        moved, size = distance(end, start)
        last = _stored(end, sides, run)

        def read(mixed: LM) -> dict[str, float]:
            return _losses(mixed, sides, run) if moved else last

        losses = {0.0: read(start), 1.0: last}
        for place in sorted(self.places):
            run.check_stop()
            mixed = extrapolate(end, start, 1 - place)
            if place not in losses:
                losses[place] = read(mixed)
            yield Probe(f"alpha-{place:g}", replace(mixed, origin=lm.origin), at=place)
        report = {
            "distance": moved,
            "relative_distance": moved / size,
            "loss": losses,
            "barrier": {side: barrier({at: found[side] for at, found in losses.items()}) for side in sides},
        }
        run.write_json("path.json", report)
        run.log(distance=moved, barrier=report["barrier"])


def barrier(losses: Mapping[float, float]) -> float:
    """The most by which a loss on the path is above the straight line between its two ends, at least 0.

    Args:
        losses: α → loss, with both ends 0 and 1.
    """
    return max(loss - (1 - at) * losses[0.0] - at * losses[1.0] for at, loss in losses.items())


def _stored(lm: LM, sides: Mapping[str, Sequence[Example]], run: Run) -> dict[str, float]:
    """`_losses` of θ0, which is the same end of every model's path."""
    rows = [rows_fingerprint(members) for members in sides.values()]
    precision = resolve_precision(run.train.precision, lm.device)
    key = digest(["linear-path", VERSION, lm.fingerprint(), rows, precision, run.plan.data.max_length])
    store = Store()
    if (kept := store.get_table(key)) is None:
        kept = {"loss": list(_losses(lm, sides, run).values())}
        store.put_table(key, kept)
    return dict(zip(sides, kept["loss"], strict=True))


def _losses(lm: LM, sides: Mapping[str, Sequence[Example]], run: Run) -> dict[str, float]:
    """Negative log-probability per answer token of each side's rows."""
    found = {}
    encoded = {side: encode_rows(members, lm.template, run.plan.data.max_length) for side, members in sides.items()}
    longest = max(row.length for rows in encoded.values() for row in rows)
    precision = resolve_precision(run.train.precision, lm.device)
    with fast_attention(lm, longest), working(lm, precision) as subject:
        for side, rows in encoded.items():
            logps = scan(subject.model, rows, lm.template.pad_id, answer_logps)
            found[side] = -sum(float(own.sum(dtype="float64")) for own in logps) / sum(len(own) for own in logps)
    return found
