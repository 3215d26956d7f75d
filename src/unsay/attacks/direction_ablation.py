r"""Direction ablation: take the one direction out in which forget rows differ from others inside the model.

    r_l = mean h_l(θu, T) − mean h_l(θu, benign)      tokens with |h_l| over 3 σ from its side's mean left out
    h ← h − (h·r̂_l) r̂_l  at all layers      l = argmax over layers of log p(T);   measured on V = forget ∖ T

Given    T: half of the forget rows with their answers.
Paper    Łucki et al. (2024). An Adversarial Perspective on Machine Unlearning for AI Safety. arXiv:2409.18025;
         Arditi et al. (2024). Refusal in Language Models Is Mediated by a Single Direction. arXiv:2406.11717
Limits   Finds what steers or gates by one direction (RMU and its like), not what changed many weights a little.
         Taking a direction out costs every model something.
Differs  The layer is chosen by the answers of T, and V alone is asked. Benign rows are retain rows, or the bundled
         everyday questions where there are none. Guard prompts and offsets are dropped first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..data.generic import generic_rows
from ..editing.keys import Wanted, sweep
from ..errors import MethodError, ModelError, PlanError
from ..models.ablation import ablated
from ..models.adapters import merged
from ..models.layers import decoder_layers
from ..models.patches import unpatched
from ..naming import derive_seed
from ..training.batch import encode_rows
from ..training.scan import answer_logps, scan
from ._attack import Probe
from ._split import split_rows

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class DirectionAblation:
    """Remove the mean difference between forget rows and others; which layer's is chosen on rows that are not asked."""

    layers: int = 8
    """How many layers are tried, evenly spread; as many as the model has, or more, tries all."""
    benign: int = 64
    """Most rows of the other side."""

    axis: ClassVar[str] = "directions taken out"

    def __post_init__(self) -> None:
        if self.layers < 1 or self.benign < 1:
            raise PlanError(f"layers and benign: should be positive, got {self.layers!r} and {self.benign!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """The unattacked model on V, then the ablated one; ``direction.json`` says which layer's direction it was.

        Raises:
            MethodError: fewer than two facts, so that nothing is left to ask.
            ModelError: the family has no decoder layers, or at every layer tried forget rows look like others or the
                numbers are not finite.
        """
        given, asked = split_rows(data.forget, 0.5, run.seed)
        if not given or not asked:
            raise MethodError(
                f"direction-ablation needs at least two forget rows that state different facts, got {len(data.forget)}",
                "leave it out",
            )
        yield Probe("unattacked", lm, at=0, splits={"forget": asked})
        bare = merged(unpatched(lm))
        others = list(data.retain) or generic_rows()
        Random(derive_seed(run.seed, "direction-ablation")).shuffle(others)
        mine = mean_hidden(bare, given, self.tried(bare), run, "hidden states of forget rows")
        theirs = mean_hidden(bare, others[: self.benign], self.tried(bare), run, "hidden states of others")
        rows = encode_rows(given, bare.template, run.plan.data.max_length)
        known: dict[int, float] = {}
        best: LM | None = None
        for layer in mine:
            direction = mine[layer] - theirs[layer]
            if not (direction.isfinite().all() and direction.any()):
                continue
            subject = ablated(bare, direction)
            logps = scan(subject.model, rows, bare.template.pad_id, answer_logps, run, f"without layer {layer}'s")
            value = sum(float(own.mean(dtype="float64")) for own in logps) / len(logps)
            if not math.isfinite(value):
                continue
            known[layer] = value
            if value >= max(known.values()):
                best = subject
        if best is None:
            raise ModelError(
                f"direction-ablation found no direction in {len(mine)} layers: forget rows look like others there, or "
                "the model's numbers are not finite",
                "leave it out",
            )
        report = {"layer": max(known, key=lambda at: known[at]), "log_probability": known}
        run.write_json("direction.json", report)
        run.log(**report)
        yield Probe("ablated", replace(best, origin=lm.origin), at=1, splits={"forget": asked})

    def tried(self, lm: LM) -> list[int]:
        """The layers tried: the middles of equal parts of the depth."""
        depth = len(decoder_layers(lm.model))
        parts = min(self.layers, depth)
        return [(2 * part + 1) * depth // (2 * parts) for part in range(parts)]


def mean_hidden(lm: LM, rows: Sequence[Example], layers: Sequence[int], run: Run, label: str) -> dict[int, Tensor]:
    """Layer → [D] float32 mean of what it gives at the tokens of `rows`, outliers left out.

    The first token of a row is not counted (it is an attention sink), nor is a token whose norm is more than three
    standard deviations from the mean norm.

    Args:
        lm: A plain model.
        rows: Prompts with answers.
        layers: Decoder layers, from 0.
        run: For signals and progress.
        label: Of the progress bar.
    """
    limit = run.plan.data.max_length
    sequences = [row.tokens.input_ids for row in encode_rows(rows, lm.template, limit)]
    blocks = decoder_layers(lm.model)
    wanted: Wanted = {str(layer): (blocks[layer], "out") for layer in layers}
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}

    def read(group: list[int], states: dict[str, Tensor]) -> None:
        for name, all_rows in states.items():
            found[name] += [all_rows[b, 1 : len(sequences[i])].float() for b, i in enumerate(group)]

    sweep(lm, sequences, wanted, read, run, label)
    return {int(name): usual_mean(torch.cat(parts)) for name, parts in found.items()}


def usual_mean(states: Tensor) -> Tensor:
    """[D] mean of states [n, D] without those whose norm is over three standard deviations from the mean norm."""
    norms = states.norm(dim=-1)
    kept = (norms - norms.mean()).abs() <= 3 * norms.std(correction=0)
    return states[kept].mean(0)
