"""The frozen model an objective compares with (θ0), in three forms that give the same numbers.

copy     a second set of weights
adapter  the same weights with the LoRA adapter switched off
cache    only the log-probabilities of the answer tokens, computed once before the first step
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ..errors import MethodError, NeedError
from ..models.adapters import reference_disabled
from ..models.offset import OffsetModel
from ..naming import digest
from ..runs.store import Store
from .batch import Counts, MicroBatch, Row
from .forward import Forward
from .scan import answer_logps, scan
from .step import CachedScores, Ref, Step, View

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

Uses = bool | Literal["logps"]
"""What an objective reads of the reference: nothing, anything, or answer log-probabilities alone (cacheable)."""
Mode = Literal["copy", "adapter", "cache"]


class FrozenCopy(Ref):
    """A second model, without gradient."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...] = (), *, shallow: bool = False):
        self._model = model.eval()
        self._layers, self._shallow = layers, shallow

    def view(self, role: str, batch: MicroBatch, counts: Counts) -> View:
        """The rows through the frozen weights."""
        with torch.no_grad():
            forward = Forward(self._model, batch, self._layers, grad=False, shallow=self._shallow)
            return _FrozenView(forward, role, counts)


class AdapterOff(Ref):
    """The model under training with its adapter switched off for the moment."""

    def __init__(self, model: nn.Module, layers: tuple[str, ...] = (), *, shallow: bool = False):
        self._model = model
        self._layers, self._shallow = layers, shallow

    def view(self, role: str, batch: MicroBatch, counts: Counts) -> View:
        """The rows through the weights under the adapter."""
        forward = Forward(self._model, batch, self._layers, grad=False, shallow=self._shallow)
        with torch.no_grad(), reference_disabled(self._model):
            forward.run()
        return _FrozenView(forward, role, counts)


class CachedLogps(Ref):
    """Log-probabilities of the answer tokens by row."""

    def __init__(self, table: Mapping[str, Tensor]):
        self._table = table

    def view(self, role: str, batch: MicroBatch, counts: Counts) -> CachedScores:
        """The rows' numbers out of the table.

        Raises:
            NeedError: a row was not in the sweep.
        """
        try:
            found = [self._table[key] for key in batch.keys]
        except KeyError as missing:
            raise NeedError(
                f"the reference cache has no row {missing}", "list the role in the method's roles()"
            ) from None
        device = batch.input_ids.device
        values = torch.cat(found).to(device) if found else torch.zeros(0, device=device)
        return CachedScores(batch, counts, values)


class _FrozenView(View):
    """A view whose numbers carry no gradient, whatever is going on around it."""

    def _answer_logps(self) -> Tensor:
        with torch.no_grad():
            return super()._answer_logps()

    @property
    def logits(self) -> Tensor:
        """See `Scores.logits`."""
        with torch.no_grad():
            return super().logits


def choose(uses: Uses, wanted: str, model: nn.Module) -> Mode | None:
    """Which form to use; None when the objective reads no reference.

    Args:
        uses: What the objective declares.
        wanted: ``train.reference``.
        model: The model before training.

    Raises:
        MethodError: the form that was asked for cannot give what the objective reads.
    """
    if not uses:
        return None
    fresh = adapter_is_fresh(model)
    if wanted == "auto":
        return "cache" if uses == "logps" else "adapter" if fresh else "copy"
    if wanted == "cache" and uses != "logps":
        raise MethodError(
            "train.reference=cache keeps log-probabilities only, and this method reads more of the reference",
            "train.reference=copy, or auto",
        )
    if wanted == "adapter" and not fresh:
        raise MethodError(
            "train.reference=adapter needs a new LoRA adapter; without a trained one this is not the model before",
            "train.reference=copy, or auto",
        )
    return {"copy": "copy", "adapter": "adapter", "cache": "cache"}[wanted]  # type: ignore[return-value]


def adapter_is_fresh(model: nn.Module) -> bool:
    """Whether the model carries a LoRA adapter that changes nothing yet (every B is zero), or an offset of 0."""
    if isinstance(model, OffsetModel):
        return model.is_zero()
    up = [p for name, p in model.named_parameters() if "lora_B" in name or "lora_embedding_B" in name]
    return bool(up) and all(not p.any() for p in up)


class _Recorder(Ref):
    """Notes whose reference is read, and answers with zeros."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def view(self, role: str, batch: MicroBatch, counts: Counts) -> CachedScores:
        self.read.add(role)
        device = batch.input_ids.device
        return CachedScores(batch, counts, torch.zeros(int((batch.lengths - batch.answer_start).sum()), device=device))


def roles_read(
    model: nn.Module,
    rows: Mapping[str, Sequence[Row]],
    loss: Callable[[Step], object],
    pad_id: int,
    layers: tuple[str, ...] = (),
) -> list[str]:
    """The roles whose reference an objective reads, found by calling it on one row of each role."""
    recorder = _Recorder()
    batch = MicroBatch.of({role: members[:1] for role, members in rows.items()}, pad_id)
    forward = Forward(model, batch.to(next(model.parameters()).device), layers, grad=False)
    with torch.no_grad():
        loss(Step({role: View(forward, role, Counts(1, m[0].answer_tokens), recorder) for role, m in rows.items()}))
    return [role for role in rows if role in recorder.read]


def cached_logps(
    lm: LM, model: nn.Module, rows: Iterable[Row], *, precision: str, run: Run, fingerprint: str
) -> CachedLogps:
    """Answer log-probabilities of `rows` under `model`, from the store or by one length-sorted sweep.

    Args:
        lm: The model before training, for its template and pad token.
        model: What runs the forward: the same weights in the working precision.
        rows: The rows of every role that the objective compares.
        precision: ``fp32`` or ``bf16``; part of the key.
        run: For progress and signals.
        fingerprint: Of the model before training.
    """
    unique = list({row.key: row for row in rows}.values())
    key = digest(["reference", fingerprint, lm.template.fingerprint(), precision, sorted(row.key for row in unique)])
    store = Store()
    table = store.get_table(key)
    if table is None:
        logps = scan(model, unique, lm.template.pad_id, answer_logps, run, "reference")
        table = {"key": [row.key for row in unique], "logps": logps}
        store.put_table(key, table)
    return CachedLogps({k: torch.from_numpy(v.copy()) for k, v in zip(table["key"], table["logps"], strict=True)})
