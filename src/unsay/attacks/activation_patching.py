"""Unlearning depth: how much of a fact is lost when the model before unlearning goes on from another model's states?

    Δ_l    = mean_t [log p_θ0(y_t) − log p_θ0(y_t | h_l ← h_l(θ))]     t over the tokens of the fact in y
    LER_l  = clip(Δ_l(θu) / Δ_l(θr), 0, 1)                             for layers with Δ_l(θr) > τ
    UDS    = Σ_l Δ_l(θr) LER_l / Σ_l Δ_l(θr)                           0: all of it is still there, 1: as in θr

Paper    Lee, Kim, Jo (2026). Measuring the Depth of LLM Unlearning via Activation Patching. arXiv:2605.24614
Given    Nothing to learn from: the forget rows are read, and the model before unlearning is at hand.
Limits   Depth is not privacy: what no layer of θ0 can use may still be found by other means. Needs two states of one
         architecture; a model whose layers were rotated against θ0 looks unlearned.
Differs  A value is −Δ_l, so that up means more knowledge; `uds` puts the readings of θr and θu together. The fact
         is found by rules: names and numbers, else nouns and words that the question does not have, else the whole
         answer. Guards and offsets are dropped first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..data.example import ForgetData
from ..errors import MethodError, PlanError
from ..mechanism.inside import opened
from ..mechanism.patching import fact_logp, fact_states, patched_logp
from ..mechanism.texts import Text, texts
from ..models.patches import unpatched
from ._attack import Finding

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

TAU = 0.05
"""τ of the paper, nats."""


@dataclass(frozen=True, kw_only=True)
class ActivationPatching:
    """Put the model's states into the model before unlearning, layer by layer."""

    every: int = 3
    """Every how many layers, counted from the last; 1 is the paper's."""

    axis: ClassVar[str] = "layer, log-probability kept (nats)"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise PlanError(f"every: should be at least 1, got {self.every!r}")

    def inspect(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Finding]:
        """−Δ_l of each forget row, shallow layers first; 0 is no loss.

        Raises:
            MethodError: no `before`, no forget rows, or two models that are not two states of one.
            ModelError: the layers cannot be told apart.
        """
        if before is None:
            raise MethodError("activation-patching needs the model before unlearning", "run it on a finished run")
        if not data.forget:
            raise MethodError("activation-patching has no forget rows to ask", "forget=forget.jsonl")
        lm, before = unpatched(lm), unpatched(before)
        limit = run.plan.data.max_length
        own, asked = texts(lm, data.forget, limit), texts(before, data.forget, limit)
        _same_ids(own, asked, lm, before)
        with opened(lm) as source:
            layers = list(range(source.depth, 0, -self.every))[::-1]
            states, shape = fact_states(source, own, layers), _shape(source.depth, lm)
        with opened(before) as target, run.progress("patching", len(layers) + 1, "layers") as bar:
            if _shape(target.depth, before) != shape:
                raise MethodError(
                    f"{lm.origin} has {shape[0]} layers of width {shape[1]}, the model before unlearning "
                    f"{target.depth} of {_shape(target.depth, before)[1]}",
                    "activation-patching compares two states of one model",
                )
            full = fact_logp(target, asked)
            bar.advance(1)
            tokens = sum(len(text.ids) for text in asked)
            run.spend(2 * tokens)
            for layer, found in patched_logp(target, asked, states, layers):
                run.check_stop()
                run.spend(tokens)
                bar.advance(1)
                yield Finding(f"layer-{layer}", layer, {i: value - full[i] for i, value in found.items()})


def uds(control: Sequence[Finding], unlearned: Sequence[Finding], tau: float = TAU) -> dict[str, float]:
    """Unlearning depth score of each example, in [0, 1], from what `inspect` found of θr and of θu.

    Args:
        control: Findings of the retrained model.
        unlearned: Findings of the unlearned one, at the same layers.
        tau: Layers where θr loses less than this (nats) do not hold the fact.

    Returns:
        Example id → score; without the examples that no layer of θ0 holds better than θr.
    """
    others = {finding.label: finding.values for finding in unlearned}
    top: dict[str, float] = {}
    total: dict[str, float] = {}
    for finding in control:
        for i, value in finding.values.items():
            if -value > tau and i in others.get(finding.label, {}):
                share = min(max(others[finding.label][i] / value, 0.0), 1.0)
                top[i] = top.get(i, 0.0) - value * share
                total[i] = total.get(i, 0.0) - value
    return {i: top[i] / total[i] for i in total}


def _shape(depth: int, lm: LM) -> tuple[int, int]:
    return depth, int(lm.model.get_input_embeddings().weight.shape[1])


def _same_ids(one: Sequence[Text], other: Sequence[Text], lm: LM, before: LM) -> None:
    if [text.ids for text in one] != [text.ids for text in other]:
        raise MethodError(
            f"{lm.origin} reads the forget rows as other tokens than {before.origin}",
            "activation-patching needs one tokenizer and one chat template",
        )
