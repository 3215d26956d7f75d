"""Logit lens: does any layer still hold the first token of what the answer reveals?

    v_l = log softmax(W_U · norm(h_l))[y_t]        t the fact's first token, h_l read at t − 1 after layer l

Paper    nostalgebraist (2020). interpreting GPT: the logit lens; against unlearning: Łucki et al. (2024).
         An Adversarial Perspective on Machine Unlearning for AI Safety. arXiv:2409.18025
Given    The question and the answer's words before the fact, which say nothing of it.
Limits   Early layers are not trained to be read like this: a low value proves nothing. The best of many layers is high
         by chance: take the same of the retrained model. The first token alone is read.
Differs  Only what whole layers pass on is read, not attention and MLP apart. The fact is found by rules: names and
         numbers, else nouns and words that the question does not have. The last layer is read before the final norm,
         which some libraries have applied already. Guards and offsets are dropped first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ..data.example import ForgetData
from ..errors import MethodError, PlanError
from ..mechanism.inside import opened
from ..mechanism.texts import texts
from ..models.patches import unpatched
from ._attack import Finding

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

Reading = Literal["log-probability", "rank"]


@dataclass(frozen=True, kw_only=True)
class LogitLens:
    """Read every layer with the final norm and the head."""

    read: Reading = "log-probability"
    """rank is −log2(1 + rank): 0 for the likeliest token, down by one each time its rank doubles."""

    def __post_init__(self) -> None:
        if self.read not in ("log-probability", "rank"):
            raise PlanError(f"read is {self.read!r}, expected log-probability or rank", "read=rank")

    @property
    def axis(self) -> str:
        """What the findings count."""
        return "layer, log-probability (nats)" if self.read == "log-probability" else "layer, −log2(1 + rank)"

    def inspect(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Finding]:
        """One finding a layer, from 1 to the last, which is what the model itself would say. `before` is not used.

        Raises:
            MethodError: no forget rows.
            ModelError: the layers cannot be told apart.
        """
        if not data.forget:
            raise MethodError("logit-lens has no forget rows to ask", "forget=forget.jsonl")
        lm = unpatched(lm)
        asked = texts(lm, data.forget, run.plan.data.max_length)
        found: list[dict[str, float]] = []
        with opened(lm) as inside, run.progress("logit lens", len(asked), "texts") as bar:
            for group, states in inside.batches([text.ids[: text.fact[0]] for text in asked]):
                run.check_stop()
                members = [asked[i] for i in group]
                last = torch.tensor([text.fact[0] - 1 for text in members], device=states.device)
                tokens = torch.tensor([text.ids[text.fact[0]] for text in members])
                here = states[torch.arange(len(members), device=states.device), :, last]
                found = found or [{} for _ in range(inside.depth)]
                for layer, values in enumerate(found, 1):
                    logp, rank = inside.looked_up(here[:, layer], tokens)
                    read = logp if self.read == "log-probability" else -torch.log2(1.0 + rank)
                    values.update(zip((text.id for text in members), read.tolist(), strict=True))
                run.spend(sum(text.fact[0] for text in members))
                bar.advance(len(members))
        whole = sum(text.whole for text in asked)
        note = f"{whole} of {len(asked)} answers are read from their first token on" if whole else ""
        for layer, values in enumerate(found, 1):
            yield Finding(f"layer-{layer}", layer, values, note)
