r"""Pruning: set the least important weights to 0 and ask again.

    magnitude  s_ij = |W_ij|, the least of a whole map        wanda  s_ij = |W_ij| · ‖X_j‖₂, the least of each row i
    W ← W · 1[s above the quantile]        X: inputs of the map, over everyday texts

Given    Nothing of the forget set; everyday texts to weigh the inputs by.
Paper    Sun, Liu, Bair, Kolter (2023). A Simple and Effective Pruning Approach for Large Language Models.
         arXiv:2306.11695 (Wanda); as an attack on unlearning: Łucki et al. (2024). arXiv:2409.18025
Limits   Half of the weights spoil small models, control and all. The authors' stronger attack, which removes what
         matters for forgetting and not for utility, is not here. Guards, screens and offsets stay.
Differs  Inputs are measured once, on the model before anything is pruned; the paper goes on from layer to layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..data.generic import generic_rows
from ..errors import PlanError
from ..models.layers import as_rows, backbone, linear_maps
from ..models.patches import unpatched
from ..models.quantise import plain_copy
from ..naming import derive_seed
from ._attack import Probe

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Linear maps of the decoder layers with a share of their weights at 0; embeddings, head and norms stay."""

    shares: tuple[float, ...] = (0.2, 0.5)
    """Of each map's weights that go."""
    scores: tuple[Literal["magnitude", "wanda"], ...] = ("magnitude", "wanda")
    """What says which weights matter least."""
    texts: int = 64
    """Everyday texts that Wanda weighs the inputs by: bundled questions with their answers."""

    axis: ClassVar[str] = "share pruned"

    def __post_init__(self) -> None:
        if not self.shares or not 0 < min(self.shares) <= max(self.shares) < 1:
            raise PlanError(f"shares: should lie between 0 and 1, got {self.shares!r}")
        if not self.scores or not set(self.scores) <= {"magnitude", "wanda"}:
            raise PlanError(f"scores: should be of magnitude and wanda, got {self.scores!r}")
        if len(set(self.shares)) < len(self.shares) or len(set(self.scores)) < len(self.scores) or self.texts < 1:
            raise PlanError("shares and scores: should be different from each other, and texts positive")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per share and score, fewest weights gone first.

        Raises:
            ModelError: the family has no decoder layers with linear maps.
        """
        norms: Mapping[str, Tensor] = {}
        for share in sorted(self.shares):
            for score in self.scores:
                subject = plain_copy(lm)
                bare = unpatched(subject)  # the same weights
                if score == "wanda":
                    norms = norms or input_norms(bare, self._texts(bare, run), run)
                with torch.no_grad():
                    for name, module in linear_maps(bare.model).items():
                        weight = as_rows(module)
                        if score == "wanda":
                            weight.copy_(without_least(weight, weight.abs().float() * norms[name], share))
                        else:
                            flat = weight.reshape(1, -1)
                            weight.copy_(without_least(flat, flat.abs(), share).view_as(weight))
                yield Probe(f"{score}-{100 * share:g}", subject, at=share)

    def _texts(self, lm: LM, run: Run) -> list[Sequence[int]]:
        rows = generic_rows()
        Random(derive_seed(run.seed, "pruning")).shuffle(rows)
        found = lm.template.attempt([(row.prompt, row.answer) for row in rows[: self.texts]])
        return [row.input_ids[: run.plan.data.max_length] for row in found if not isinstance(row, str)]


def without_least(weight: Tensor, score: Tensor, share: float) -> Tensor:
    """`weight` with ⌊share · n⌋ of the n numbers of each row at 0: those of the least score, ties the first first.

    Args:
        weight: [rows, n].
        score: [rows, n].
        share: Between 0 and 1.
    """
    gone = score.argsort(dim=1, stable=True)[:, : int(share * weight.shape[1])]
    return weight.scatter(1, gone, 0.0)


@torch.no_grad()
def input_norms(lm: LM, texts: Sequence[Sequence[int]], run: Run) -> dict[str, Tensor]:
    """Map's name (see `linear_maps`) → [in] float32 ‖X_j‖₂ of its inputs over all tokens of `texts`.

    Args:
        lm: A plain model.
        texts: Token ids, row by row.
        run: For signals and progress.
    """
    maps = linear_maps(lm.model)
    total: dict[str, Tensor] = {}

    def adding(name: str) -> Any:
        def add(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            square = given[0].flatten(0, -2).double().square().sum(0)
            total[name] = total[name] + square if name in total else square

        return add

    with ExitStack() as stack, run.progress("inputs of linear maps", len(texts), "texts") as bar:
        for name, module in maps.items():
            stack.callback(module.register_forward_pre_hook(adding(name)).remove)
        for ids in texts:
            run.check_stop()
            backbone(lm.model)(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=False)
            bar.advance(1)
    # A map that no text reached (an expert, say) is pruned by magnitude.
    return {
        name: total[name].sqrt().float() if name in total else torch.ones(as_rows(module).shape[1], device=lm.device)
        for name, module in maps.items()
    }
