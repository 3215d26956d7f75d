"""Can the forget rows be told from unseen rows by the gradient of their loss? (membership test, AUC)

Signal = −‖∂(mean token loss of the answer)/∂θ‖₂ over all weights θ: what was trained on lies near a minimum, where
gradients are short. AUC of forget rows against holdout rows; ½ is chance.

Paper: gradient norm attack of Wang et al. 2024 (arXiv:2402.17012).
Limits: one backward pass per row and model; a method that raises the loss of the forget rows lengthens their gradients,
so that an AUC far below ½ gives them away as well: read `two_sided`. Of a logit offset only the small network has
gradients, so do not compare its norms with another model's.
Differs: answer alone, given the prompt; the norm is over all layers together.

The shorter of two gradients looks more like a member:

>>> signals = _shortness({"a": (3.0,), "b": (1.0, 2.0)})
>>> signals["b"] > signals["a"], signals["b"]
(True, -1.5)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._membership import attack
from .have import Measurements, Norms
from .needs import GradNorms
from .score import Score


@dataclass(frozen=True, kw_only=True)
class GradientNorm:
    """AUC of the gradient-norm signal."""

    split: str = "forget"
    """The members."""
    others: str = "holdout"
    """The non-members: rows that no model was trained on."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[GradNorms, ...]:
        """Both splits on the subject; on the retrained model when there is one."""
        splits = (self.split, self.others)
        return tuple(GradNorms(split, model=model) for model in ("subject", "retrained") for split in splits)

    def score(self, have: Measurements) -> Score:
        """AUC, clustered interval; `extra` has two_sided, retrained_auc and excess."""

        def read(split: str, model: str) -> dict[str, float]:
            found = have.norms(GradNorms(split, model=model))
            return _shortness({row.id: found[row.id] for row in have.rows(split) if found.get(row.id)})

        return attack(have, self.split, self.others, self.needs, read)


def _shortness(norms: Norms) -> dict[str, float]:
    return {i: -float(np.mean(given)) for i, given in norms.items()}
